"""
What the memory layer costs, in microseconds, without sockets or threads.

Run it with C{python benchmarks/memory_layer.py}.  The best of several rounds is
printed, since everything else a machine does only adds to it.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from twisted.internet.task import Clock

from chanserv.layers import MemoryChannelLayer, face_of
from chanserv.messages import GroupSend, Message, Send, seal

ROUNDS = 7
TIMES = 5_000

SMALL = {"text": "hello"}
REQUEST = {
    "reply_channel": "chanserv.response.Ab3dE9fK!1a",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/chat/room/",
    "query_string": b"page=2",
    "root_path": "",
    "headers": [
        [b"host", b"example.com"],
        [b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0"],
        [b"accept", b"text/html,application/xhtml+xml"],
        [b"accept-language", b"en-GB,en;q=0.5"],
        [b"accept-encoding", b"gzip, deflate, br"],
        [b"cookie", b"sessionid=0123456789abcdef0123456789abcdef"],
        [b"connection", b"keep-alive"],
    ],
    "body": b"",
    "client": ["127.0.0.1", 51234],
    "server": ["127.0.0.1", 8000],
}
RESPONSE = {
    "status": 200,
    "headers": [[b"content-type", b"text/html; charset=utf-8"], [b"x-frame-options", b"DENY"]],
    "content": b"x" * 2000,
}
MAILBOX = "chanserv.response.Ab3dE9fK!"


def best(run: Callable[[], object], each: int = 1) -> float:
    """Microseconds for one of the C{each} things that C{run} does, at its best."""
    times = TIMES // each
    figures = []
    for _ in range(ROUNDS):
        begin = perf_counter()
        for _ in range(times):
            run()
        figures.append((perf_counter() - begin) / times / each * 1e6)
    return min(figures)


def main() -> None:
    """Measure and print."""
    clock = Clock()
    layer = MemoryChannelLayer(clock=clock)
    face = face_of(layer, clock)

    def there_and_out(message: Message, receipt: str | None = None) -> Callable[[], object]:
        def run() -> None:
            layer.send("http.request", message, receipt)
            layer.receive(["http.request"])

        return run

    def settled() -> None:
        layer.send("http.request", seal(SMALL), f"{MAILBOX}1a")
        layer.receive(["http.request"]).result[0].settle()
        layer.receive([MAILBOX], 100)

    def to_waiting() -> None:
        layer.receive([MAILBOX], 100)
        layer.send(f"{MAILBOX}1a", SMALL)

    sealed = seal(SMALL)
    batch = [Send(f"{MAILBOX}{number}", sealed) for number in range(20)]

    def batch_to_waiting() -> None:
        layer.receive([MAILBOX], 100)
        layer.send_batch(batch)

    request, response = seal(REQUEST), seal(RESPONSE)

    def request_and_answer() -> None:
        answered = layer.receive([MAILBOX], 100)
        asked = layer.receive(["http.request"], 4)
        layer.send("http.request", request, f"{MAILBOX}1a")
        layer.send_batch([Send(f"{MAILBOX}1a", response)], asked.result)
        assert len(answered.result) == 2

    for number in range(500):
        layer.group_add("one", f"{MAILBOX}{number}")
        layer.group_add("many", f"channel.{number}")
    channels = [f"channel.{number}" for number in range(500)]

    def group_in_one_mailbox() -> None:
        layer.send_batch([GroupSend("one", sealed)])
        layer.receive([MAILBOX], 100)

    def group_of_channels() -> None:
        layer.send_group("many", sealed)
        layer.receive(channels, 500)

    def by_face() -> None:
        face.send("http.request", SMALL)
        face.receive(["http.request"])

    for what, run, each in (
        ("send, receive: small", there_and_out(SMALL), 1),
        ("send, receive: small, sealed before", there_and_out(sealed), 1),
        ("send, receive: http.request", there_and_out(REQUEST), 1),
        ("send, receive, settle, read the receipt", settled, 1),
        ("receive that waits, send", to_waiting, 1),
        ("receive that waits, send_batch of 20: each", batch_to_waiting, 20),
        ("send_group to 500 in one mailbox, receive", group_in_one_mailbox, 1),
        ("send_group to 500 channels, receive: each", group_of_channels, 500),
        ("a request to a waiting worker, its answer and receipt back", request_and_answer, 1),
        ("blocking face: send, receive: small", by_face, 1),
        ("seal an http.request", lambda: seal(REQUEST), 1),
    ):
        print(f"{best(run, each):8.2f} µs  {what}")


if __name__ == "__main__":
    main()
