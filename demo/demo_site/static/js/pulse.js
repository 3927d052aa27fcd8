/** The dot in the foot of the page: is the socket open, and who answers? */
import { LiveSocket } from "./live-socket.js";

const BEAT_EVERY = 5_000; // ms
const pulse = document.getElementById("pulse");
const text = document.getElementById("pulse-text");
const socket = new LiveSocket(() => "/ws/pulse/");
let asked = null;

socket.addEventListener("state", ({ detail: { state } }) => {
  pulse.dataset.state = state === "connecting" && socket.tries ? "lost" : state;
  asked = null;
  if (state === "lost") text.textContent = "Socket lost, reconnecting…";
});

socket.addEventListener("news", ({ detail: { pid, thread } }) => {
  const took = asked === null ? "" : ` in ${(performance.now() - asked).toFixed(1)} ms`;
  asked = null;
  text.textContent = `Socket open · answered by process ${pid}, ${thread}${took}`;
  pulse.dataset.state = "open";
});

setInterval(() => {
  if (document.hidden) return;
  if (socket.send({ beat: true })) asked = performance.now();
}, BEAT_EVERY);
