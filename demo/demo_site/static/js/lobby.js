/** The lobby: who is in which room, as it changes. */
import { LiveSocket } from "./live-socket.js";

const rooms = document.getElementById("rooms");
const banner = document.getElementById("banner");
const socket = new LiveSocket(() => "/ws/chat/lobby/");

socket.addEventListener("state", ({ detail: { state } }) => {
  if (state === "lost") banner.textContent = "Connection lost. Reconnecting…";
  if (state !== "connecting") banner.hidden = state === "open";
});

socket.addEventListener("news", ({ detail }) => {
  for (const room of detail.rooms) show(room);
});

function show({ slug, url, title, topic, names }) {
  const item = rooms.querySelector(`[data-slug="${CSS.escape(slug)}"]`) ?? added(slug, url);
  item.querySelector(".title").textContent = title;
  item.querySelector(".topic").textContent = topic;
  item.querySelector(".names").textContent = names.join(", ");
  item.querySelector(".count b").textContent = names.length;
  item.classList.toggle("busy", names.length > 0);
}

/** A room that was opened after this page was made. */
function added(slug, url) {
  const item = document.createElement("li");
  item.dataset.slug = slug;
  const link = item.appendChild(document.createElement("a"));
  link.href = url;
  for (const part of ["title", "topic", "names", "count"]) {
    link.appendChild(document.createElement("span")).className = part;
  }
  item.querySelector(".count").append(document.createElement("b"), " here");
  return rooms.appendChild(item);
}
