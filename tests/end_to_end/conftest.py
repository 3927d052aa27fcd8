"""The server that the tests of this folder speak to: one process, all of it real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.processes import Served, free_port, served

HERE = Path(__file__).parent

Start = Callable[..., Served]


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts C{twistd -n chanserv}, with options of the test's own."""
    with starter() as start_server:
        yield start_server


@pytest.fixture(scope="module")
def start_for_module() -> Iterator[Start]:
    """The same, for servers that all tests of a module speak to."""
    with starter() as start_server:
        yield start_server


@contextmanager
def starter() -> Iterator[Start]:
    """What starts servers, and stops them in the end."""
    with ExitStack() as stack:

        def start_server(*options: str) -> Served:
            port = free_port()
            return stack.enter_context(
                served(
                    [
                        "twistd", "-n", "--pidfile=", "chanserv",
                        "--settings=site_under_test.settings",
                        f"--listen=tcp:{port}:interface=127.0.0.1",
                        *options,
                    ],
                    port=port,
                    cwd=HERE,
                )
            )  # fmt: skip

        yield start_server
