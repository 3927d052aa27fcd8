"""What an operator sees of running processes: health, metrics, and logs as JSON."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.end_to_end.split import PATIENCE, Part, Split, split
from tests.processes import wait_until

METRICS = "--metrics=tcp:0:interface=127.0.0.1"
JSON = "--log-format=json"


def place_of(part: Part) -> str:
    """Where the pages of C{part} are, as its log says."""
    wait_until(lambda: "Metrics and health: " in part.log(), PATIENCE)
    found = re.search(r"Metrics and health: (http://127\.0\.0\.1:\d+/)", part.log())
    assert found
    return found[1]


def ready(part: Part) -> tuple[int, str]:
    answer = httpx.get(place_of(part) + "readyz", timeout=PATIENCE)
    return answer.status_code, answer.text


def numbers(part: Part) -> dict[str, float]:
    """All of its metrics, by name and labels."""
    page = httpx.get(place_of(part) + "metrics", timeout=PATIENCE).text
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def wait_for(part: Part, name: str, right: Callable[[float], bool]) -> None:
    wait_until(lambda: right(numbers(part).get(name, 0.0)), PATIENCE)


def lines(part: Part) -> list[dict[str, Any]]:
    """Its log, of which every line must be an object with the keys that all have."""
    found = [json.loads(line) for line in part.log().splitlines(keepends=True) if line[-1] == "\n"]
    for line in found:
        assert list(line)[:4] == ["time", "level", "logger", "message"], line
    return found


def line_with(part: Part, text: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def looked() -> bool:
        found[:] = [line for line in lines(part) if text in line["message"]]
        return bool(found)

    wait_until(looked, PATIENCE)
    return found[0]


def fail_a_handshake(part: Part, request_id: str) -> None:
    """Have a consumer raise."""
    with (
        pytest.raises(InvalidStatus),
        connect(
            f"ws://127.0.0.1:{part.port}/fail/", additional_headers={"X-Request-ID": request_id}
        ),
    ):
        pass


def supervised(site: Split, *options: str) -> Part:
    return site.begin(
        "--settings=site_under_test.settings",
        "--listen=tcp:0:interface=127.0.0.1",
        "--workers=2",
        "--threads=2",
        "--release=blue",
        METRICS,
        JSON,
        *options,
    )


def test_a_supervisor_shows_its_workers_and_logs_for_them() -> None:
    with split("ipc") as site:
        part = supervised(site, "--access-log=-", "--drain=0")
        # Before any worker has loaded the site, it is alive and not ready.
        assert httpx.get(place_of(part) + "healthz", timeout=PATIENCE).status_code == 200
        part.wait_until_ready()
        assert ready(part) == (200, "ready\n")
        base = f"http://127.0.0.1:{part.port}"
        for _ in range(3):
            assert httpx.get(f"{base}/", headers={"X-Request-ID": "tea-1"}).status_code == 200
        fail_a_handshake(part, "tea-2")
        wait_for(part, 'chanserv_workers{release="blue",state="running"}', lambda n: n == 2)
        views = 'chanserv_consumer_seconds_count{consumer="chanserv.django.handler.ViewConsumer"'
        wait_for(part, views + ',release="blue"}', lambda n: n == 3)
        failed = 'chanserv_consumer_failures_total{consumer="site_under_test.routing.fail"'
        wait_for(part, failed + ',release="blue"}', lambda n: n == 1)
        found = numbers(part)
        assert found["chanserv_requests_total"] == 3
        assert found["chanserv_layer_up"] == found["chanserv_ready"] == 1
        assert found['chanserv_channel_messages_total{channel="http.request"}'] == 3
        # A request's id is in the access log, and with what its consumer did wrong.
        access = line_with(part, "GET / HTTP/1.1 200")
        assert (access["logger"], access["request_id"]) == ("chanserv.access", "tea-1")
        fault = line_with(part, "failed on a message")
        assert fault["request_id"] == "tea-2"
        assert fault["consumer"] == "site_under_test.routing.fail"
        assert fault["channel"] == "websocket.connect"
        assert fault["worker"] in (1, 2)
        assert fault["release"] == "blue"
        assert "RuntimeError: the consumer broke" in fault["traceback"]
        assert "Traceback" not in fault["message"]
        # What workers did does not end with them.
        part.process.send_signal(signal.SIGHUP)
        line_with(part, "have taken over")
        wait_for(part, 'chanserv_workers{release="blue",state="running"}', lambda n: n == 2)
        assert numbers(part)[views + ',release="blue"}'] == 3
        part.stop()
        lines(part)


@pytest.mark.parametrize("layer", ["ipc", "redis"])
def test_an_interface_server_is_ready_while_a_worker_is_somewhere(layer: str) -> None:
    with split(layer) as site:
        front = site.begin_interface(METRICS)
        wait_until(lambda: "no worker runs anywhere" in ready(front)[1], PATIENCE)
        worker = site.begin_worker(METRICS)
        wait_until(lambda: ready(front) == (200, "ready\n"), PATIENCE)
        worker.wait_until_ready()
        assert ready(worker) == (200, "ready\n")
        assert 'chanserv_workers{release="",state="running"}' in numbers(worker)
        assert "chanserv_requests_total" not in numbers(worker)
        assert "chanserv_requests_total" in numbers(front)
        worker.kill()
        wait_until(lambda: ready(front)[0] == 503, PATIENCE)


def test_while_it_drains_it_is_alive_and_not_ready() -> None:
    with split("ipc") as site:
        front = site.begin_interface(METRICS, "--drain-timeout=100s")
        worker = site.worker("--stop-timeout=100s", METRICS)
        front.wait_until_ready()
        with httpx.stream("GET", f"http://127.0.0.1:{front.port}/", timeout=PATIENCE) as answer:
            assert answer.read() == b"hello"
        pool = httpx.Client(timeout=PATIENCE)
        held = threading.Thread(
            target=lambda: pool.get(f"http://127.0.0.1:{front.port}/hold/tea/"), daemon=True
        )
        held.start()
        wait_until(lambda: site.holders("tea"), PATIENCE)
        for part in (front, worker):
            place = place_of(part)
            part.process.send_signal(signal.SIGTERM)
            wait_until(
                lambda place=place: (
                    httpx.get(place + "readyz", timeout=PATIENCE).status_code == 503
                ),
                PATIENCE,
            )
            assert "stopping" in httpx.get(place + "readyz", timeout=PATIENCE).text
            assert httpx.get(place + "healthz", timeout=PATIENCE).text == "alive\n"
            assert "chanserv_ready 0.0" in httpx.get(place + "metrics", timeout=PATIENCE).text
        site.release("tea")
        held.join(PATIENCE)
        assert not held.is_alive()
        pool.close()


def test_twist_writes_the_same_lines() -> None:
    with split("ipc") as site:
        part = site.begin("--listen=tcp:0:interface=127.0.0.1", JSON, runner=["twist"])
        part.wait_until_ready()
        assert line_with(part, "is ready")["logger"].startswith("chanserv")


def test_a_daemon_writes_them_to_its_file() -> None:
    with split("ipc") as site:
        with site.daemon("--listen=tcp:0:interface=127.0.0.1", JSON):
            pass
        log = (site.folder / "daemon.log").read_text()
        found = [json.loads(line) for line in log.splitlines()]
    assert any("is ready" in line["message"] for line in found)
    assert any("has stopped" in line["message"] for line in found)
