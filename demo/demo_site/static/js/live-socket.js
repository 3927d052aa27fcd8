/**
 * A WebSocket that comes back.
 *
 * When the connection is lost it tries again: soon at first, then less and less
 * often, and never at the same moment as all other pages (a server that has just
 * come up is not to be run over by those who waited for it).
 *
 * A dead line can look like a quiet one.  So the page asks now and then whether
 * anyone is there, and takes silence for a loss.
 */

const FIRST_WAIT = 500; // ms
const LONGEST_WAIT = 15_000; // ms
const ASK_EVERY = 20_000; // ms
const PATIENCE = 8_000; // ms for an answer, and for a handshake

export class LiveSocket extends EventTarget {
  /**
   * Events: "state" (detail: {state, wait}), "news" (detail: the parsed JSON).
   * States: "connecting", "open", "lost" (wait: ms until the next try), "closed".
   *
   * @param path is given this socket, and gives the path and query to connect to;
   *   called before each try.
   * @param beat what to send to learn whether anyone is there.
   */
  constructor(path, beat = { beat: true }) {
    super();
    this.path = path;
    this.beat = beat;
    this.wasOpen = false;
    this.tries = 0;
    addEventListener("online", () => this.#retry === null || this.connect());
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.connect());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#retry !== null) this.connect();
    });
    this.connect();
  }

  #socket = null;
  #retry = null; // the timer of the next try
  #ask = null; // the timer of the next question
  #silence = null; // the timer that ends the wait for an answer

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Send an object; false where the line is down. */
  send(what) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(what));
    return true;
  }

  /** Connect now, whatever was planned. */
  connect() {
    this.#stop();
    const url = new URL(this.path(this), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.#socket = new WebSocket(url));
    socket.onopen = () => {
      this.wasOpen = true;
      this.#heard();
      this.#announce("open");
    };
    socket.onmessage = (event) => {
      this.tries = 0; // Only who speaks is back: a door that opens is not enough.
      this.#heard();
      this.dispatchEvent(new CustomEvent("news", { detail: JSON.parse(event.data) }));
    };
    socket.onclose = (event) => this.#lost(event.code);
    this.#silence = setTimeout(() => this.#lost(), PATIENCE);
    this.#announce("connecting");
  }

  #lost(code) {
    this.#stop();
    // From 4400 to 4407 our consumers mean: do not come again like this.
    if (code >= 4400 && code < 4408) return this.#announce("closed", { code });
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.tries++);
    const wait = most * (0.5 + Math.random() / 2);
    this.#retry = setTimeout(() => this.connect(), wait);
    this.#announce("lost", { wait });
  }

  #heard() {
    clearTimeout(this.#ask);
    clearTimeout(this.#silence);
    this.#ask = setTimeout(() => {
      this.send(this.beat);
      this.#silence = setTimeout(() => this.#lost(), PATIENCE);
    }, ASK_EVERY);
  }

  #stop() {
    clearTimeout(this.#retry);
    clearTimeout(this.#ask);
    clearTimeout(this.#silence);
    this.#retry = null;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #announce(state, more = {}) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...more } }));
  }
}
