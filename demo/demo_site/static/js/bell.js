/** The bell: ask, wait for the answer however long it takes, ask again. */

const LONGEST_WAIT = 10_000; // ms between two tries while the server is away
const POLLS_SHOWN = 6;

const by = (id) => document.getElementById(id);
const patience = Number(by("page").dataset.patience) * 1000;
const state = { count: Number(by("page").dataset.count) };

poll();

async function poll() {
  for (let failures = 0; ; ) {
    const shown = pollItem();
    const answer = await ask();
    shown.end(answer.what);
    if (answer.bell) show(answer.bell);
    failures = answer.failed ? failures + 1 : 0;
    if (failures) {
      const wait = Math.min(LONGEST_WAIT, 500 * 2 ** failures);
      await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
    }
  }
}

/** One request, to its end. The server ends it in time; this page, if it does not. */
async function ask() {
  try {
    const signal = AbortSignal.timeout(patience + 10_000);
    const response = await fetch(`/bell/wait/?after=${state.count}`, { signal, cache: "no-store" });
    if (response.status === 204) return { what: "nothing yet" };
    if (response.status === 200) return { what: "it rang!", bell: await response.json() };
    return { what: `answered ${response.status}`, failed: true };
  } catch (error) {
    return { what: error.name === "TimeoutError" ? "gave up" : "lost", failed: true };
  }
}

function show({ count, name }) {
  // The answer to one's own ring may come after that of a later ring.
  if (count <= state.count) return;
  state.count = count;
  by("count").textContent = count;
  by("by").textContent = `rung last by ${name || "somebody"}`;
  const bell = by("bell");
  bell.classList.remove("ringing");
  void bell.getBoundingClientRect(); // so that the animation starts anew
  bell.classList.add("ringing");
}

/** A row for a request that begins now. */
function pollItem() {
  const item = document.createElement("li");
  const what = item.appendChild(document.createElement("span"));
  const took = item.appendChild(document.createElement("time"));
  const began = performance.now();
  what.textContent = "waiting…";
  item.className = "waiting";
  const tick = () => (took.textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`);
  const timer = setInterval(tick, 100);
  tick();
  by("polls").prepend(item);
  while (by("polls").children.length > POLLS_SHOWN) by("polls").lastElementChild.remove();
  return {
    end(how) {
      clearInterval(timer);
      tick();
      what.textContent = how;
      item.className = how === "it rang!" ? "rang" : "";
    },
  };
}

by("rope").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { action, csrfmiddlewaretoken } = event.target;
  let why = "";
  try {
    const headers = { "X-CSRFToken": csrfmiddlewaretoken.value };
    const response = await fetch(action, { method: "POST", headers });
    if (!response.ok) why = `The server answered ${response.status}.`;
  } catch {
    why = "The server cannot be reached just now.";
  }
  by("problem").hidden = !why;
  by("problem").textContent = why;
});
