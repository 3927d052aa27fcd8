"""Workers that are all gone for a while: what was sent meanwhile is answered, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.end_to_end.clients import Closed, Socket, ask, get
from tests.end_to_end.split import PATIENCE, Part, eventually, split

THERE = "The first worker is there"
GONE = "No worker is there any more"
BACK = "Workers are there again"


def says(part: Part, words: str) -> Callable[[], bool]:
    return lambda: words in part.log()


@pytest.mark.parametrize("kind", ["ipc", "redis"])
def test_what_is_sent_while_no_worker_is_there_is_answered_in_order_by_the_next(
    kind: str,
) -> None:
    with split(kind) as site:
        front, worker = site.begin_interface("--park-seconds=5m"), site.begin_worker()
        for part in (front, worker):
            part.wait_until_ready()

        async def visit() -> None:
            sockets = [await Socket.open(front.port) for _ in range(5)]
            for socket in sockets:
                await socket.echo("before")
            noting = await Socket.open(front.port, "/order/")
            await eventually("its presence is known", says(front, THERE))
            worker.process.terminate()
            await eventually("its absence is known", says(front, GONE))
            await eventually("it has ended", lambda: worker.process.poll() is not None)
            # More than a channel holds.
            asking = [asyncio.ensure_future(ask(front.port, f"/about/{n}")) for n in range(150)]
            opening = [asyncio.ensure_future(Socket.open(front.port)) for _ in range(5)]
            for number in range(50):
                noting.send(str(number))
                for socket in sockets:
                    socket.send(str(number))
            noting.close()
            site.begin_worker()
            for number, answer in enumerate(asking):
                assert (await answer)["path"] == f"/about/{number}"
            for socket in sockets:
                assert [await socket.receive() for _ in range(50)] == [str(n) for n in range(50)]
            for socket in [*sockets, *[await one for one in opening]]:
                await socket.echo("after")
                socket.close()
            await eventually("its return is known", says(front, BACK))

            async def all_noted() -> list[str]:
                while len(notes := (await ask(front.port, "/notes/"))["notes"]) < 51:
                    await asyncio.sleep(0.1)
                return list(notes)

            expected = [f"websocket.receive {n}" for n in range(1, 51)]
            assert await all_noted() == [*expected, "websocket.disconnect 51"]

        try:
            asyncio.run(asyncio.wait_for(visit(), PATIENCE * 2))
        except BaseException:
            site.show()
            raise
        assert ", and 0 were refused" in front.log()
        assert "lost" not in front.log()


def test_whoever_waits_in_vain_is_told_to_come_back() -> None:
    with split("ipc") as site:
        front, worker = site.begin_interface("--park-seconds=500ms"), site.begin_worker()
        for part in (front, worker):
            part.wait_until_ready()

        async def visit() -> None:
            socket = await Socket.open(front.port)
            await socket.echo("before")
            await eventually("its presence is known", says(front, THERE))
            worker.process.terminate()
            await eventually("its absence is known", says(front, GONE))
            socket.send("in vain")
            head = (await get(front.port)).lower()
            assert head.startswith(b"http/1.1 503 ")
            assert b"\r\nretry-after: " in head
            with pytest.raises(ConnectionError, match="503"):
                await Socket.open(front.port)
            with pytest.raises(Closed) as closed:
                await socket.receive()
            assert closed.value.code == 1013
            socket.close()

        asyncio.run(asyncio.wait_for(visit(), PATIENCE))
