"""C{twistd chanserv --workers}: all of it real, from the deployment of new code to kill -9."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.end_to_end.split import split
from tests.processes import CLEAN_EXITS, script, wait_until
from tests.supervision.shop import PATIENCE, URLS, is_alive, shop

TWIST = ("twist", "--log-format=text")
BROKEN = URLS.replace("def version", "deff version")


def test_new_code_is_deployed_under_requests_of_which_each_is_run_once() -> None:
    with shop() as site, ThreadPoolExecutor(4) as clients:
        # At first the code is wrong: connections end here all the same, and the way out is said.
        site.release("none", BROKEN)
        process = site.begin("--release=r1")
        site.logged("No worker is left")
        assert "SyntaxError" in site.log()
        assert "shop/urls.py, line 20" in site.log()
        assert "cannot start, for the same reason" in site.log()
        waiting = clients.submit(site.get, "/version/")
        site.release("one")
        site.logged(" is ready: shop.settings with 2 worker processes of 2 threads")
        assert waiting.result(PATIENCE) == "one"
        assert site.get("/version/") == "one"
        site.logged("takes messages", 2)

        # New code, while requests come without a pause.
        numbers = iter(range(1_000_000))
        turn, done = threading.Lock(), threading.Event()

        def visit() -> list[int]:
            mine = []
            while not done.is_set():
                with turn:
                    number = next(numbers)
                assert site.get(f"/run/{number}/") == str(number)
                mine.append(number)
                # Requests all the time, and not all that the machine can do.
                time.sleep(0.02)
            return mine

        visits = [clients.submit(visit) for _ in range(3)]
        site.release("two")
        site.hang_up()
        site.logged("Replacing 2 workers: SIGHUP")
        # Once more, while it does.
        site.hang_up()
        site.logged("2 new workers have taken over: SIGHUP", 2)
        assert site.get("/version/") == "two"
        site.logged("has ended in order", 4)
        site.release("three", BROKEN)
        site.hang_up()
        site.logged("Workers are not replaced, and those at work go on")
        assert site.get("/version/") == "two"
        done.set()
        asked = [number for one in visits for number in one.result(PATIENCE)]
        assert len(asked) > 10
        assert Counter(map(int, site.noted("ran"))) == Counter(asked)

        # This process has loaded none of it.
        assert str(process.pid) not in site.noted("loaded")
        process.terminate()
        assert process.wait(PATIENCE) in CLEAN_EXITS
        assert site.workers() == []


def test_when_all_processes_are_told_to_end_what_was_accepted_is_answered_first() -> None:
    with shop() as site, ThreadPoolExecutor(2) as clients:
        site.release("one")
        process = site.begin("--drain=1s", "--drain-timeout=60s", "--stop-timeout=60s")
        site.logged(" is ready: ")
        held = clients.submit(site.get, "/hold/a/")
        wait_until(lambda: site.noted("held"), PATIENCE)
        os.killpg(process.pid, signal.SIGTERM)
        site.logged("chanserv is stopping")
        site.let_go("a")
        assert held.result(PATIENCE) == "let go"
        assert process.wait(PATIENCE) in CLEAN_EXITS
        assert site.workers() == []
        assert "did not end in order" not in site.log()


def test_workers_whose_supervisor_is_killed_finish_and_end() -> None:
    with shop() as site, ThreadPoolExecutor(2) as clients:
        site.release("one")
        process = site.begin("--stop-timeout=60s")
        site.logged("takes messages", 2)
        workers = site.workers()
        assert len(workers) == 2
        clients.submit(site.get, "/hold/a/")
        wait_until(lambda: site.noted("held"), PATIENCE)
        process.kill()
        process.wait()
        # The idle one has nothing to finish.
        wait_until(lambda: len(site.workers()) == 1, PATIENCE)
        site.let_go("a")
        wait_until(lambda: site.workers() == [], PATIENCE)
        # Its print after that hurt nobody.
        assert site.noted("let go") == ["a"]


def test_a_worker_that_is_killed_or_told_to_end_or_hangs_is_followed_by_another() -> None:
    with shop() as site, ThreadPoolExecutor(4) as clients:
        site.release("one")
        process = site.begin(
            "--stop-timeout=200ms", "--stuck-after=5s", "--replace-stuck", command=TWIST
        )
        site.logged("takes messages", 2)
        # Who is replaced has the time for what it runs that a stop would not give it.
        held = clients.submit(site.get, "/hold/x/")
        wait_until(lambda: site.noted("held"), PATIENCE)
        site.hang_up()
        site.logged("2 new workers have taken over")
        site.logged("has ended in order")
        time.sleep(0.5)
        site.let_go("x")
        assert held.result(PATIENCE) == "let go"
        site.logged("has ended in order", 2)
        killed, told = site.workers()
        os.kill(killed, signal.SIGKILL)
        os.kill(told, signal.SIGTERM)
        site.logged("takes messages", 6)
        wait_until(lambda: not is_alive(told), PATIENCE)
        assert "ended: killed by signal 9. Starting it again" in site.log()
        assert "was told to end" in site.log()
        # One thread that hangs is no reason; all of a worker's are.
        for name in "abcd":
            clients.submit(site.get, f"/hold/{name}/")
        site.logged("has had all its threads in the same consumers for")
        site.logged(" in hold")
        site.logged("Stopping without chanserv.django.handler.ViewConsumer")
        site.logged("takes messages", 7)
        for name in "abcd":
            site.let_go(name)
        # Ctrl-C in a terminal reaches all of them.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(PATIENCE)
        assert site.workers() == []
        assert "chanserv has stopped" in site.log()


def test_as_a_daemon_it_writes_what_workers_print_and_log_to_its_own_log() -> None:
    with shop() as site:
        site.release("one")
        pidfile, log = site.folder / "pid", site.folder / "log"
        subprocess.run(
            [
                script("twistd"), f"--pidfile={pidfile}", f"--logfile={log}", "chanserv",
                "--settings=shop.settings", f"--pythonpath={site.current}", "--workers=1",
                "--listen=tcp:0:interface=127.0.0.1",
            ],
            cwd=site.folder,
            env={**os.environ, "CHANSERV_TEST_FOLDER": str(site.folder)},
            check=True,
            timeout=PATIENCE,
        )  # fmt: skip
        wait_until(lambda: pidfile.exists() and pidfile.read_text(), PATIENCE)
        pid = int(pidfile.read_text())
        try:
            wait_until(lambda: " is ready: " in log.read_text(), PATIENCE)
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: "1 new workers have taken over" in log.read_text(), PATIENCE)
            os.kill(site.workers()[-1], signal.SIGKILL)
            wait_until(lambda: log.read_text().count("takes messages") == 3, PATIENCE)
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pidfile.exists(), PATIENCE)
        assert site.workers() == []


def test_over_ipc_no_worker_hosts_what_would_end_with_it() -> None:
    with split("ipc") as site:
        front = site.interface()
        back = site.begin("--no-listen", "--settings=site_under_test.settings", "--workers=2")
        wait_until(lambda: back.log().count("takes messages") == 2, PATIENCE)
        front.stop()
        wait_until(lambda: "hosts the hub" in back.log(), PATIENCE)
        assert "] This process hosts the hub" in back.log()
        assert not re.search(r"\[worker \d\] This process hosts", back.log())


def test_settings_that_cannot_be_read_are_refused_in_one_line() -> None:
    with shop() as site:
        site.release("one")
        process = site.begin("--settings=nonesuch.settings")
        assert process.wait(PATIENCE) == 1
        assert site.log().startswith("chanserv: there are no settings 'nonesuch.settings'")
        assert site.log().count("\n") == 1
