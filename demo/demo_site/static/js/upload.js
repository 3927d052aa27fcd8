/** The upload: its progress, and whether what arrived is what was sent. */

const by = (id) => document.getElementById(id);
const form = by("upload");
const file = by("file");
const most = Number(form.dataset.maxBytes);
let request = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = file.files[0];
  if (chosen.size > most) return problem(`That is more than ${size(most)}.`);
  send(chosen);
});

by("stop").addEventListener("click", () => request?.abort());

function send(chosen) {
  const began = performance.now();
  request = new XMLHttpRequest();
  request.upload.onprogress = ({ loaded, total }) => progress(loaded, total, began);
  request.onload = () => answered(chosen);
  request.onerror = () => problem("The connection was lost on the way.");
  request.onabort = () => problem("Stopped.");
  request.onloadend = () => busy(false);
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("X-CSRFToken", form.csrfmiddlewaretoken.value);
  problem("");
  by("arrived").hidden = true;
  progress(0, chosen.size, began);
  busy(true);
  const body = new FormData();
  body.append("file", chosen);
  request.send(body);
}

function answered(chosen) {
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // An answer of the server itself: 413, 503. Its status says enough.
  }
  if (request.status !== 200) return problem(answer.problem ?? `The server answered ${request.status}.`);
  by("arrived-name").textContent = answer.name;
  by("arrived-size").textContent = answer.size.toLocaleString();
  by("arrived-sha256").textContent = answer.sha256;
  by("arrived").hidden = false;
  compare(chosen, answer);
}

/** Take the fingerprint here as well, where the browser lets a page do so. */
async function compare(chosen, { size: arrived, sha256 }) {
  by("compared").textContent = "comparing…";
  if (!crypto.subtle) {
    by("compared").textContent = arrived === chosen.size ? "the size is right" : "the size differs";
    return;
  }
  const digest = await crypto.subtle.digest("SHA-256", await chosen.arrayBuffer());
  const ours = Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
  by("compared").textContent = ours === sha256 ? "the same as here, byte for byte" : "not what was sent!";
}

function progress(loaded, total, began) {
  const percent = total ? Math.floor((100 * loaded) / total) : 100;
  by("bar").value = percent;
  by("percent").textContent = `${percent} %`;
  const seconds = (performance.now() - began) / 1000;
  const speed = seconds > 0.3 ? ` · ${size(loaded / seconds)}/s` : "";
  by("speed").textContent = `${size(loaded)} of ${size(total)}${speed}`;
}

function busy(is) {
  by("progress").hidden = false;
  by("send").hidden = is;
  by("stop").hidden = !is;
  file.disabled = is;
}

function problem(why) {
  by("problem").hidden = !why;
  by("problem").textContent = why;
}

function size(bytes) {
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(0)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

file.addEventListener("change", () => {
  const chosen = file.files[0];
  by("chosen").textContent = chosen ? `${chosen.name} (${size(chosen.size)})` : "Choose a file, or drop one here";
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  by("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    by("drop").classList.toggle("over", kind === "dragover");
    if (kind !== "drop" || !event.dataTransfer.files.length || file.disabled) return;
    file.files = event.dataTransfer.files;
    file.dispatchEvent(new Event("change"));
  });
}
