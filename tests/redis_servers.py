"""
Real C{redis-server} processes for tests: each in a folder of its own, on a Unix
socket or a free port of 127.0.0.1, ended when its block ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.certificates import Certificates
from tests.processes import free_port, wait_until

START_SECONDS = 60.0
"""How long a server may take to answer: far more than it needs, for a machine that does
much else."""

PORT_ATTEMPTS = 5
"""How often a server is started on another port where somebody took the first meanwhile."""


def program() -> str:
    """
    The file of Redis' server.

    It is the same as C{redis-check-rdb}, which looks at the name that it was started by; and
    a package of Debian that starts no service by itself has only that.
    """
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    assert found is not None, "there is no redis-server: install redis-server or redis-tools"
    return found


@cache
def _ends_with_us() -> tuple[str, ...]:
    """What has the kernel end a server when the tests are killed, where there is such a thing."""
    if shutil.which("setpriv") is None or shutil.which("redis-server") is None:
        return ()
    command = ("setpriv", "--pdeathsig", "KILL")
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


@dataclass
class RedisServer:
    """
    A server: its address, and its process while it runs.

    @ivar path: its Unix socket, where it has one.
    @ivar port: its TCP port on 127.0.0.1; 0 where it has none.
    @ivar tls: its certificates, where its port speaks TLS.
    """

    folder: Path
    options: Sequence[str]
    path: Path | None = None
    port: int = 0
    tls: Certificates | None = None
    password: str | None = None
    sentinel: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The URL of a layer on it, with the password if it has one."""
        if self.path is not None:
            secret = f"?password={self.password}" if self.password else ""
            return f"redis+unix://{self.path}{secret}"
        before = f":{self.password}@" if self.password else ""
        if self.tls is not None:
            return f"rediss://{before}127.0.0.1:{self.port}/0?ca_certs={self.tls.ca}"
        return f"redis://{before}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self.process is not None, "the server does not run"
        return self.process.pid

    # Its life

    def start(self, *, wait: bool = True) -> None:
        """
        Start it, on its address, with the data that its folder holds.

        @param wait: until it answers.
        @raise AssertionError: it does not start; with its log.
        """
        assert self.process is None, "the server runs already"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_ends_with_us(), "redis-server", *self._arguments()],
                executable=None if _ends_with_us() else program(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                # A Ctrl-C is for the tests, which end it.
                start_new_session=True,
            )
        if wait:
            self.wait_until_ready()

    def _arguments(self) -> list[str]:
        if self.sentinel:
            return [str(self.folder / "sentinel.conf"), "--sentinel"]
        arguments = [str(self.folder / "redis.conf"), "--dir", str(self.folder)]
        arguments += ["--save", "", "--daemonize", "no"]
        if self.path is not None:
            arguments += ["--unixsocket", str(self.path)]
        if self.tls is not None:
            arguments += [
                *("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
                *("--tls-cert-file", str(self.tls.cert), "--tls-key-file", str(self.tls.key)),
                *("--tls-ca-cert-file", str(self.tls.ca)),
            ]
        else:
            arguments += ["--port", str(self.port)]
        if self.port:
            arguments += ["--bind", "127.0.0.1"]
        if self.password is not None:
            arguments += ["--requirepass", self.password, "--masterauth", self.password]
        return [*arguments, *self.options]

    def wait_until_ready(self) -> None:
        """Wait until it answers, and has loaded its data."""

        def ready() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"redis-server ended\n{self.log()}")
            try:
                answer = self.command("PING")
            except OSError:
                return False
            # A server that wants a password, or refuses a command, is there.
            return not answer.startswith(b"-LOADING")

        try:
            wait_until(ready, START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"redis-server does not answer: {error}\n{self.log()}") from None

    def stop(self) -> None:
        """End it as an operator would: it keeps its data if it was told to."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            # One that is paused hears nothing else.
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    def restart(self) -> None:
        """Kill it and start it again: empty, unless it writes an append-only file."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it in its tracks; connections to it stay."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: self._state() == "T")

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _state(self) -> str:
        text = Path(f"/proc/{self.pid}/stat").read_text()
        return text.rpartition(")")[2].split()[0].upper()

    # Questions, apart from the code that is tested

    def log(self) -> str:
        """All that it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def command(self, *words: str | bytes | int, user: str | None = None) -> bytes:
        """
        Send one command, on a connection of its own.

        @param user: C{name:password} to log in with, in place of its own password.
        @return: the reply as it came, at most 64 KB.
        @raise OSError: it cannot be reached.
        """
        return self.commands([words], user=user)[-1]

    def commands(
        self, commands: Sequence[Sequence[str | bytes | int]], *, user: str | None = None
    ) -> list[bytes]:
        """The same for several on one connection, one after the other."""
        login: list[Sequence[str | bytes | int]] = []
        if user is not None:
            login = [["AUTH", *user.split(":", 1)]]
        elif self.password is not None and not self.sentinel:
            login = [["AUTH", self.password]]
        with self._connected() as connection:
            replies = []
            for words in [*login, *commands]:
                connection.sendall(_packed(words))
                reply = b""
                while not _is_whole(reply):
                    part = connection.recv(65536)
                    if not part:
                        raise ConnectionResetError("redis-server closed the connection")
                    reply += part
                replies.append(reply)
            return replies[len(login) :]

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        if self.path is not None:
            plain = socket.socket(socket.AF_UNIX)
            address: str | tuple[str, int] = str(self.path)
        else:
            plain = socket.socket(socket.AF_INET)
            address = ("127.0.0.1", self.port)
        with ExitStack() as stack:
            connection: socket.socket = stack.enter_context(plain)
            connection.settimeout(10)
            connection.connect(address)
            if self.tls is not None:
                context = ssl.create_default_context(cafile=str(self.tls.ca))
                # It may be for another host, or want a certificate: that is for tests.
                context.check_hostname = False
                context.load_cert_chain(self.tls.cert, self.tls.key)
                connection = stack.enter_context(context.wrap_socket(connection))
            yield connection


def _packed(words: Sequence[str | bytes | int]) -> bytes:
    out = b"*%d\r\n" % len(words)
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out += b"$%d\r\n%b\r\n" % (len(data), data)
    return out


def _is_whole(reply: bytes) -> bool:
    """Whether C{reply} holds one reply to its end."""
    try:
        return _after(reply, 0) <= len(reply)
    except ValueError:
        return False


def _after(reply: bytes, at: int) -> int:
    """Where the reply that begins at C{at} ends.  A ValueError if that has not come yet."""
    end = reply.index(b"\r\n", at) + 2
    kind, text = reply[at : at + 1], reply[at + 1 : end - 2]
    if kind == b"$" and text != b"-1":
        return end + int(text) + 2
    if kind == b"*" and text != b"-1":
        for _ in range(int(text)):
            end = _after(reply, end)
    return end


# What tests begin with


@contextmanager
def redis_server(
    *options: str,
    tcp: bool = False,
    tls: Certificates | None = None,
    password: str | None = None,
    users: Sequence[str] = (),
    keeps_data: bool = False,
) -> Iterator[RedisServer]:
    """
    Run a server until the block ends.

    @param options: of C{redis-server}'s command line, such as C{"--maxmemory", "5mb"}.
    @param tcp: on a port of 127.0.0.1, in place of a Unix socket.
    @param tls: on a port that speaks TLS, with these.
    @param password: of the default user.
    @param users: ACL rules, such as C{"worker on >secret ~chanserv:* +@all"}.
    @param keeps_data: whether it still has its data after it was killed.
    """
    with _folder() as folder:
        # The command line has no way to write a rule of several words.
        rules = "".join(f"user {user}\n" for user in users)
        (folder / "redis.conf").write_text(rules)
        keep = ("--appendonly", "yes", "--appendfsync", "always")
        extra = keep if keeps_data else ("--appendonly", "no")
        server = RedisServer(folder, [*extra, *options], tls=tls, password=password)
        if tcp or tls is not None:
            with _on_some_port(server):
                yield server
        else:
            server.path = folder / "s"
            with _running(server):
                yield server


@contextmanager
def redis_servers(count: int, *options: str) -> Iterator[list[RedisServer]]:
    """Run several plain servers on Unix sockets until the block ends."""
    with ExitStack() as stack:
        yield [stack.enter_context(redis_server(*options)) for _ in range(count)]


@dataclass
class SentinelSetup:
    """
    A master, its replica, and the sentinels that watch them.

    @ivar service: what the sentinels call it.
    """

    master: RedisServer
    replica: RedisServer
    sentinels: list[RedisServer]
    service: str

    @property
    def url(self) -> str:
        """The URL of a layer on it."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        before = f":{self.master.password}@" if self.master.password else ""
        return f"redis+sentinel://{before}{hosts}/{self.service}"

    def named_by(self, sentinel: RedisServer) -> int:
        """The port of the master that C{sentinel} names."""
        reply = sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return int(reply.split(b"\r\n")[4])


@contextmanager
def redis_with_sentinels(
    count: int = 1, *, down_after_ms: int = 1000, password: str | None = None
) -> Iterator[SentinelSetup]:
    """
    Run a master, a replica that is up to date, and sentinels that agree, until the block ends.

    @param down_after_ms: how long the master may be silent before it is replaced.
    @param password: of both servers.
    """
    service = "chanserv-test"
    with ExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        master = stack.enter_context(redis_server(*at_once, tcp=True, password=password))
        follow = (*at_once, "--replicaof", f"127.0.0.1 {master.port}")
        replica = stack.enter_context(redis_server(*follow, tcp=True, password=password))
        wait_until(lambda: b"master_link_status:up" in replica.command("INFO"), START_SECONDS)
        sentinels = [
            stack.enter_context(_sentinel(master, service, count // 2 + 1, down_after_ms))
            for _ in range(count)
        ]
        for sentinel in sentinels:
            _wait_until_it_knows(sentinel, service, count - 1)
        yield SentinelSetup(master, replica, sentinels, service)


@contextmanager
def _sentinel(
    master: RedisServer, service: str, quorum: int, down_after_ms: int
) -> Iterator[RedisServer]:
    with _folder() as folder:
        sentinel = RedisServer(folder, [], sentinel=True)

        def configure() -> None:
            lines = [
                f"port {sentinel.port}",
                "bind 127.0.0.1",
                f"dir {folder}",
                f"sentinel monitor {service} 127.0.0.1 {master.port} {quorum}",
                f"sentinel down-after-milliseconds {service} {down_after_ms}",
                f"sentinel failover-timeout {service} 5000",
            ]
            if master.password is not None:
                lines.append(f"sentinel auth-pass {service} {master.password}")
            (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

        with _on_some_port(sentinel, configure):
            yield sentinel


def _wait_until_it_knows(sentinel: RedisServer, service: str, others: int) -> None:
    """Until it could promote the replica."""

    def knows() -> bool:
        info = sentinel.command("INFO", "sentinel")
        replicas = sentinel.command("SENTINEL", "REPLICAS", service)
        return (
            f"slaves=1,sentinels={others + 1}".encode() in info
            and b"master-link-status\r\n$2\r\nok" in replicas
        )

    wait_until(knows, START_SECONDS)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a short path: that of a socket may have some hundred bytes."""
    folder = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(server: RedisServer) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.kill()


@contextmanager
def _on_some_port(
    server: RedisServer, configure: Callable[[], None] | None = None
) -> Iterator[None]:
    """The same on a port of its own.  Another process may take a free port first."""
    for attempt in range(PORT_ATTEMPTS):
        server.port = free_port()
        if configure is not None:
            configure()
        try:
            server.start()
            break
        except AssertionError:
            server.kill()
            if attempt == PORT_ATTEMPTS - 1 or "in use" not in server.log():
                raise
            time.sleep(0.1)
    try:
        yield
    finally:
        server.kill()
