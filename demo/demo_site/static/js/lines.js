/**
 * The lines of a conversation on the page, in the order of their ids.
 *
 * All that people wrote goes in as text, never as HTML.
 */

const TOGETHER = 5 * 60_000; // ms: lines of one person closer than this show one name
const MOST_ON_PAGE = 2_000; // lines; the oldest make room

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export class Lines {
  /** @param list the <ol>; @param me gives the visitor's own author key. */
  constructor(list, me) {
    this.list = list;
    this.me = me;
    this.items = new Map(); // id -> <li>
    this.last = 0; // the greatest id
  }

  /** The smallest id; 0 where there is none. */
  get first() {
    return Number(this.list.querySelector("[data-id]")?.dataset.id ?? 0);
  }

  clear() {
    this.list.replaceChildren();
    this.items.clear();
    this.last = 0;
  }

  /** Show a line in its place; false where it is there already. */
  add(line) {
    if (this.items.has(line.id)) return false;
    const item = lineItem(line, line.author === this.me());
    item.dataset.id = line.id;
    const next = line.id > this.last ? null : this.#firstAfter(line.id);
    this.list.insertBefore(item, next);
    this.items.set(line.id, item);
    this.last = Math.max(this.last, line.id);
    this.#group(item);
    this.#group(lineAfter(item));
    return true;
  }

  /** Drop the oldest lines past what a page can hold; true where some went. */
  trim() {
    const surplus = this.items.size - MOST_ON_PAGE;
    for (let left = surplus; left > 0; left--) {
      const item = this.list.querySelector("[data-id]");
      this.items.delete(Number(item.dataset.id));
      item.remove();
    }
    return surplus > 0;
  }

  /** Say that something happened; it stands between the lines of its time. */
  note(text) {
    const item = document.createElement("li");
    item.className = "note";
    item.textContent = text;
    return this.list.appendChild(item);
  }

  #firstAfter(id) {
    let next = null;
    for (const [other, item] of this.items) {
      if (other > id && (next === null || other < Number(next.dataset.id))) next = item;
    }
    return next;
  }

  /** Let an item show its day and name, or not, by what stands before it. */
  #group(item) {
    if (!item) return;
    const before = lineBefore(item);
    const at = new Date(item.dataset.at);
    const earlier = before && new Date(before.dataset.at);
    const isNewDay = !earlier || earlier.toDateString() !== at.toDateString();
    item.classList.toggle("new-day", isNewDay);
    item.dataset.day = isNewDay ? dayName(at) : "";
    const isMore = !isNewDay && before === item.previousElementSibling
      && before.dataset.author === item.dataset.author && at - earlier < TOGETHER;
    item.classList.toggle("more", isMore);
  }
}

/** An <li> with one line. */
export function lineItem({ author, name, text, at }, isMine) {
  const item = document.createElement("li");
  item.className = isMine ? "line mine" : "line";
  item.dataset.author = author;
  item.dataset.at = at;
  const bubble = document.createElement("div");
  bubble.className = "bubble";
  const who = element("b", "who", name);
  const when = element("time", "when", clock.format(new Date(at)));
  when.dateTime = at;
  when.title = new Date(at).toLocaleString();
  bubble.append(who, element("p", "text", text), when);
  item.append(avatar(author, name), bubble);
  return item;
}

/** A disc with a letter, coloured by who it is. */
export function avatar(author, name) {
  const disc = element("span", "avatar", [...name][0].toUpperCase());
  disc.ariaHidden = "true";
  disc.style.setProperty("--hue", parseInt(author.slice(0, 6), 16) % 360);
  return disc;
}

export function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function lineBefore(item) {
  do item = item.previousElementSibling; while (item && !item.dataset.id);
  return item;
}

function lineAfter(item) {
  do item = item.nextElementSibling; while (item && !item.dataset.id);
  return item;
}

function dayName(at) {
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return "Today";
  now.setDate(now.getDate() - 1);
  return at.toDateString() === now.toDateString() ? "Yesterday" : day.format(at);
}
