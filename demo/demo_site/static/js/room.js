/**
 * A room: what is said, who is here, and a line that comes back when it is lost.
 *
 * What the visitor says is shown at once as "not yet sent", under a reference of
 * the page's own making. It becomes a line when it comes back from the server.
 * Whatever was not back when the connection was lost is said again after it, and
 * the server says it once.
 */
import { Lines, avatar, element, lineItem } from "./lines.js";
import { LiveSocket } from "./live-socket.js";

const TYPING_EVERY = 2_000; // ms between two "I am typing"
const TYPING_SHOWN = 3_500; // ms
const LEFT_AFTER = 4_000; // ms: who comes back sooner has only reloaded the page
const NEWS_SHOWN = 4_000; // ms
const NEAR_END = 120; // pixels: who reads there wants to see what comes

const by = (id) => document.getElementById(id);
const { slug, title, lobby } = by("room").dataset;
const scroll = by("scroll");
const text = by("text");

let me = { author: "", name: "" };
let wasLost = false;
let unread = 0;
const unsent = new Map(); // ref -> {text, item}
const typists = new Map(); // author -> {name, timer}
const leaving = new Map(); // author -> timer
const lines = new Lines(by("lines"), () => me.author);

const socket = new LiveSocket(({ wasOpen }) => {
  const query = new URLSearchParams();
  if (lines.last) query.set("after", lines.last);
  if (wasOpen) query.set("back", "1");
  return `/ws/chat/room/${slug}/?${query}`;
});

// --- what comes from the server

const news = {
  welcome({ me: author, name, lines: missed, follows, more }) {
    me = { author, name };
    if (!follows) {
      lines.clear();
      by("earlier").hidden = !more;
    }
    const isAtEnd = atEnd();
    const added = missed.filter((line) => show(line)).length;
    if (isAtEnd || !follows) toEnd();
    by("empty").hidden = lines.last > 0;
    if (wasLost) {
      const what = follows && added ? ` ${count(added, "message")} came in meanwhile.` : "";
      banner(`You are back.${what}`, "back");
      setTimeout(() => by("banner").dataset.kind === "back" && banner(""), NEWS_SHOWN);
    }
    wasLost = false;
    for (const [ref, { text }] of unsent) socket.send({ say: text, ref });
  },

  line({ line }) {
    const isAtEnd = atEnd();
    if (!show(line)) return;
    by("empty").hidden = true;
    typing(line.author, null);
    if (document.hidden) document.title = `(${++unread}) ${title} · chanserv demo`;
    if (isAtEnd || line.author === me.author) {
      if (isAtEnd && lines.trim()) by("earlier").hidden = false;
      toEnd();
    } else by("newer").hidden = false;
  },

  people({ people, joined, left }) {
    by("people-count").textContent = people.length;
    by("people").replaceChildren(...people.map(person));
    if (joined && joined.author !== me.author) cameIn(joined);
    if (left && left.author !== me.author) wentOut(left);
  },

  typing({ author, name }) {
    if (author !== me.author) typing(author, name);
  },

  refused({ ref, why }) {
    const said = takeUnsent(ref);
    if (said && !text.value) text.value = said.text;
    problem(why);
  },

  beat() {},
};

socket.addEventListener("news", ({ detail }) => news[detail.type]?.(detail));

socket.addEventListener("state", ({ detail: { state, wait } }) => {
  by("room").dataset.state = state;
  by("retry").hidden = state !== "lost";
  if (state === "lost") {
    wasLost = true;
    const seconds = Math.max(1, Math.round(wait / 1000));
    banner(`Connection lost. Reconnecting… next try in ${seconds} s.`, "lost");
  }
  if (state === "closed") location.assign(`${lobby}?next=${encodeURIComponent(location.pathname)}`);
});

by("retry").addEventListener("click", () => socket.connect());

// --- what goes to the server

by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = text.value.trim();
  if (!said) return;
  const ref = newRef();
  const item = lineItem({ ...me, text: said, at: new Date().toISOString() }, true);
  item.classList.add("unsent");
  unsent.set(ref, { text: said, item });
  by("unsent").append(item);
  socket.send({ say: said, ref });
  text.value = "";
  problem("");
  resized();
  toEnd();
});

text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  by("composer").requestSubmit();
});

let typedAt = 0;
text.addEventListener("input", () => {
  resized();
  if (!text.value || performance.now() - typedAt < TYPING_EVERY) return;
  typedAt = performance.now();
  socket.send({ typing: true });
});

by("earlier").addEventListener("click", async ({ target }) => {
  target.disabled = true;
  try {
    const response = await fetch(`/chat/${slug}/earlier/${lines.first}/`);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const { lines: found, more } = await response.json();
    const fromEnd = scroll.scrollHeight - scroll.scrollTop;
    found.reverse().forEach((line) => lines.add(line));
    scroll.scrollTop = scroll.scrollHeight - fromEnd;
    target.hidden = !more;
  } catch (error) {
    problem(`Earlier messages could not be had: ${error.message}.`);
  } finally {
    target.disabled = false;
  }
});

// --- what the page shows

function show(line) {
  takeUnsent(line.ref);
  return lines.add(line);
}

function takeUnsent(ref) {
  const said = unsent.get(ref);
  said?.item.remove();
  unsent.delete(ref);
  return said;
}

function person({ author, name }) {
  const item = document.createElement("li");
  item.append(avatar(author, name), element("span", "name", name));
  if (author === me.author) item.append(element("span", "you", "you"));
  return item;
}

function cameIn({ author, name }) {
  if (leaving.has(author)) {
    clearTimeout(leaving.get(author));
    leaving.delete(author);
  } else note(`${name} came in`);
}

function wentOut({ author, name }) {
  typing(author, null);
  clearTimeout(leaving.get(author));
  leaving.set(author, setTimeout(() => {
    leaving.delete(author);
    note(`${name} left`);
  }, LEFT_AFTER));
}

function note(what) {
  const isAtEnd = atEnd();
  lines.note(what);
  if (isAtEnd) toEnd();
}

/** Note that someone types (or no longer does, where the name is null). */
function typing(author, name) {
  clearTimeout(typists.get(author)?.timer);
  if (name === null) typists.delete(author);
  else typists.set(author, { name, timer: setTimeout(() => typing(author, null), TYPING_SHOWN) });
  const names = [...typists.values()].map((typist) => typist.name);
  by("typing").textContent = names.length === 0 ? ""
    : names.length > 3 ? "Many are typing…"
    : `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing…`;
}

function banner(what, kind = "") {
  by("banner").hidden = !what;
  by("banner").dataset.kind = kind;
  by("banner-text").textContent = what;
}

function problem(why) {
  by("problem").hidden = !why;
  by("problem").textContent = why;
}

function resized() {
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight + 2, 160)}px`;
  const left = text.maxLength - text.value.length;
  by("left").hidden = left > 200;
  by("left").textContent = left;
}

function atEnd() {
  return scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;
}

function toEnd() {
  scroll.scrollTop = scroll.scrollHeight;
  by("newer").hidden = true;
}

by("newer").addEventListener("click", toEnd);
scroll.addEventListener("scroll", () => atEnd() && (by("newer").hidden = true), { passive: true });
addEventListener("resize", () => atEnd() && toEnd());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = `${title} · chanserv demo`;
});

/** A random UUID; crypto.randomUUID() is there on secure origins alone. */
function newRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
