"""C{python -m chanserv top} as an operator has it: in a terminal, over real layers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from chanserv.__main__ import main
from chanserv.ops.top.asker import ONLOOKERS_GROUP
from tests.end_to_end.split import HERE, PATIENCE, Split, split
from tests.processes import free_port, wait_until

TOP = (sys.executable, "-m", "chanserv", "top")

LEFT = b"\x1b[?1049l"
"""What puts the first screen back."""


class Session:
    """
    The program in a terminal.

    @ivar raw: all that it has written.
    """

    def __init__(
        self, arguments: Sequence[str], env: dict[str, str], size: tuple[int, int]
    ) -> None:
        self.user, self.tty = pty.openpty()
        self.raw = b""
        self.resize(*size)
        self.attributes = termios.tcgetattr(self.tty)
        self.process = subprocess.Popen(
            [*TOP, *arguments],
            stdin=self.tty,
            stdout=self.tty,
            stderr=self.tty,
            cwd=HERE,
            env={**os.environ, "TERM": "xterm", **env},
            start_new_session=True,
            # What is typed can then be a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.user, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.user, keys)

    def page(self) -> str:
        """The last page that it has shown whole, without colours."""
        while select.select([self.user], [], [], 0)[0]:
            try:
                self.raw += os.read(self.user, 65536)
            except OSError:
                break
        pages = re.findall(rb"\x1b\[H((?:(?!\x1b\[H).)*)\x1b\[J", self.raw, re.DOTALL)
        last = pages[-1].decode() if pages else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).replace("\r", "")

    def wait_for(
        self, condition: Callable[[str], object], meanwhile: Callable[[], object] = int
    ) -> str:
        """
        Wait until a page is as it should be, and return it.

        @param meanwhile: what to do again and again.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition(page := self.page()):
            said = self.raw.decode(errors="replace")
            assert self.process.poll() is None, f"it has ended:\n{said}"
            assert time.monotonic() < deadline, f"it did not come:\n{page or said}"
            meanwhile()
            time.sleep(0.05)
        return page

    def ended(self) -> int:
        """Wait for its end; return its exit code."""

        def has_ended() -> bool:
            # Nobody ends who cannot write.
            self.page()
            return self.process.poll() is not None

        wait_until(has_ended, PATIENCE)
        self.page()
        assert self.process.returncode is not None
        return self.process.returncode

    def is_as_before(self) -> bool:
        """Whether the terminal is as it was before the program began."""
        self.page()
        return termios.tcgetattr(self.tty) == self.attributes and self.raw.endswith(LEFT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.user)
        os.close(self.tty)


@contextmanager
def session(
    site: Split, *options: str, size: tuple[int, int] = (80, 24), **env: str
) -> Iterator[Session]:
    running = Session([f"--layer={site.layer}", *options], {**site.environment, **env}, size)
    try:
        yield running
    finally:
        running.close()


def printed(site: Split, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    return subprocess.run(
        [*TOP, *options],
        cwd=HERE,
        env={**os.environ, **site.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def printed_when_answered(site: Split, *options: str) -> subprocess.CompletedProcess[str]:
    """The same; again where no process was quick enough to answer."""
    deadline = time.monotonic() + PATIENCE
    while (found := printed(site, *options)).returncode != 0:
        assert time.monotonic() < deadline, found
    return found


def begin(site: Split) -> Callable[[], object]:
    """Start an interface server and two workers; return what makes a request."""
    front = site.begin_interface("--release=front")
    blue, green = (site.begin_worker(f"--release={colour}") for colour in ("blue", "green"))
    for part in (front, blue, green):
        part.wait_until_ready()
    url = f"http://127.0.0.1:{front.port}/"

    def request() -> None:
        # A machine that stands still for seconds may lose a worker's lease.
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(url, timeout=PATIENCE).read()

    return request


@pytest.fixture(scope="module")
def site() -> Iterator[Split]:
    """A site over IPC."""
    with split("ipc", patience="60") as made:
        begin(made)
        yield made


def onlookers(site: Split) -> int:
    """How many look, as far as the layer knows."""
    program = (
        "import sys; from chanserv.layers import blocking_layer; "
        "print(len(blocking_layer(sys.argv[1]).group_channels(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, site.layer, ONLOOKERS_GROUP]
    return int(subprocess.check_output(command, cwd=HERE, timeout=PATIENCE))


def all_there(page: str) -> bool:
    return "3 processes  2 workers" in page


def test_one_sees_a_site_over_redis_at_work() -> None:
    with split("redis", reader_lease="2", owner_lease="4") as redis:
        request = begin(redis)
        with session(redis) as top:
            top.wait_for(all_there)
            top.wait_for(lambda page: re.search(r"req [1-9]", page), request)
            top.press(b"w")
            page = top.wait_for(lambda page: "BUSY" in page and "PROCESS" not in page, request)
            assert page.count("running") == 2
            top.press(b"r")
            page = top.wait_for(lambda page: "all RUNS" in page and "SLOT" not in page)
            assert {"blue", "green"} <= set(page.split())
            top.press(b"c")
            top.wait_for(lambda page: re.search(r"http\.request +[1-9]", page), request)
            top.press(b"s")
            top.wait_for(lambda page: re.search(r"ViewConsumer +[1-9]", page), request)
            # It is killed: the layer forgets it all the same.
            wait_until(lambda: onlookers(redis) == 1, PATIENCE)
            top.process.kill()
            wait_until(lambda: onlookers(redis) == 0, PATIENCE)


def test_a_worker_that_is_killed_is_gone_from_the_page(site: Split) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        extra = site.worker("--release=doomed")
        top.wait_for(lambda page: "doomed" in page and "4 processes  3 workers" in page)
        extra.kill()
        top.wait_for(lambda page: all_there(page) and "doomed" not in page)


def test_q_puts_the_terminal_back(site: Split) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        assert termios.tcgetattr(top.tty) != top.attributes
        top.press(b"q")
        assert top.ended() == 0
        assert top.is_as_before()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_put_the_terminal_back(site: Split, number: int) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        top.process.send_signal(number)
        assert top.ended() == 0
        assert top.is_as_before()


def test_control_c_puts_the_terminal_back(site: Split) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        top.press(b"\x03")
        assert top.ended() == 0
        assert top.is_as_before()


def test_control_z_puts_the_terminal_back_until_it_goes_on(site: Split) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        top.press(b"\x1a")
        stat = Path(f"/proc/{top.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", PATIENCE)
        assert top.is_as_before()
        seen = len(top.raw)
        top.process.send_signal(signal.SIGCONT)
        top.wait_for(lambda page: len(top.raw) > seen and all_there(page))
        top.press(b"q")
        assert top.ended() == 0
        assert top.is_as_before()


def test_the_page_follows_the_size_of_the_terminal(site: Split) -> None:
    with session(site, "--every=600") as top:
        page = top.wait_for(lambda page: "round trip" in page)
        assert len(page.split("\n")) == 24
        # No sample comes meanwhile.
        for columns, lines in ((60, 12), (120, 40)):
            top.resize(columns, lines)
            page = top.wait_for(lambda page, lines=lines: len(page.split("\n")) == lines)
            assert max(map(len, page.split("\n"))) <= columns


def test_colours_are_left_out_where_nobody_wants_them(site: Split) -> None:
    with session(site) as top:
        top.wait_for(all_there)
        assert b"\x1b[32m" in top.raw
    with session(site, NO_COLOR="1") as top:
        top.wait_for(all_there)
        assert b"\x1b[32m" not in top.raw


def test_one_page_for_a_script(site: Split) -> None:
    found = printed_when_answered(site, f"--layer={site.layer}", "--once")
    assert found.stderr == ""
    assert found.stdout.startswith("chanserv top  ")
    assert "\x1b" not in found.stdout


def test_samples_for_a_program_that_soon_has_enough(site: Split) -> None:
    process = subprocess.Popen(
        [*TOP, f"--layer={site.layer}", "--json", "--every=0.5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
        env={**os.environ, **site.environment},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        samples = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdout.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert samples[0]["time"] < samples[1]["time"]
    for sample in samples:
        assert "http.request" in sample["channels"] or not sample["processes"]


def test_the_layer_can_be_that_of_a_sites_settings(site: Split) -> None:
    # The site's own default is a layer that reaches no other process.
    settings = "--settings=site_under_test.settings"
    found = printed(site, settings, "--once")
    assert found.returncode == 2
    assert "reaches only its own process" in found.stderr
    printed_when_answered(site, settings, f"--layer={site.layer}", "--once")


def test_a_layer_that_cannot_be_reached_is_said(site: Split) -> None:
    found = printed(site, f"--layer=redis://:secret@127.0.0.1:{free_port()}/0", "--once")
    assert found.returncode == 1
    assert "cannot be reached" in found.stderr
    assert "Connection refused" in found.stderr
    assert "secret" not in found.stderr
    assert "Traceback" not in found.stderr


def test_it_never_hosts_the_hub(site: Split) -> None:
    found = printed(site, "--layer=ipc:nobody?patience=0.5", "--once")
    assert found.returncode == 1
    assert "cannot be reached" in found.stderr


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["top"], "give --layer with the layer"),
        (["top", "--layer=memory:"], "reaches only its own process"),
        (["top", "--layer=pigeons:"], "unknown channel layer 'pigeons:'"),
        (["top", "--layer=ipc:site", "--every=0.1"], "--every=0.1 must be from 0.5"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, words, capsys) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("chanserv top: ")
    assert said.count("\n") == 1


def test_without_a_command_it_explains_itself(capsys) -> None:
    assert main([]) == 0
    assert "top" in capsys.readouterr().out


def test_it_tells_its_version(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("chanserv ")
