"""Tests for C{chanserv.tap}, and the table of options."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from twisted.python.usage import Options as AnyOptions
from twisted.python.usage import UsageError

from chanserv.options.table import CHOICES
from chanserv.running.config import Config
from chanserv.server.limits import Limits
from chanserv.tap import Options

SITE = "--settings=mysite.settings"


def config(*arguments: str) -> Config:
    options = Options()
    options.parseOptions(list(arguments))
    return options.config


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        config(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestConfig:
    def test_without_options_it_is_the_default(self) -> None:
        assert config() == Config()

    def test_what_is_given_is_taken(self) -> None:
        assert config(
            SITE,
            "--layer=mysite.asgi:layer",
            "--threads=8",
            "--unordered",
            "--websocket-compression",
            "--root-path=/shop/",
            "--access-log=-",
            "--stop-timeout=1m",
            "--only-channels=a.*",
            "--only-channels=b",
            "--exclude-channels=a.b",
        ) == Config(
            settings="mysite.settings",
            layer="mysite.asgi:layer",
            threads=8,
            ordered=False,
            compression=True,
            root_path="/shop",
            access_log="-",
            stop_timeout=60,
            only_channels=("a.*", "b"),
            exclude_channels=("a.b",),
        )

    def test_endpoints_add_up_and_replace_the_default(self) -> None:
        assert config("--listen=tcp:1", "--listen=unix:x").listen == ("tcp:1", "unix:x")

    def test_no_listen_means_none(self) -> None:
        assert config("--no-listen", SITE).listen == ()

    def test_every_limit_of_the_interface_server_has_an_option_with_its_default(self) -> None:
        limits = {one.limit: one.default for one in CHOICES.values() if one.limit}
        assert limits == {one.name: one.default for one in fields(Limits)}

    def test_limits_are_taken_in_their_units(self) -> None:
        assert config("--max-body=10M", "--http-timeout=2m", "--max-connections=7").limits == (
            replace(Limits(), body_bytes=10 * 2**20, http_timeout=120, connections=7)
        )

    def test_options_are_shared_by_nobody(self) -> None:
        config("--listen=tcp:1")
        assert config().listen == Config().listen


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--foo"], "--foo"),
            (["runserver"], "'runserver'"),
            (["--threads=x"], "--threads=x is not a whole number"),
            (["--threads=-1"], "--threads=-1 must be 0"),
            (["--max-body=10X"], "--max-body=10X is not a size: write bytes, or 64K"),
            (["--max-body=0"], "--max-body must be above 0"),
            (["--max-body-memory=1K"], "--body-part (65536) must not be above --max-body-memory"),
            (["--http-timeout=soon"], "--http-timeout=soon is not a time"),
            (["--root-path=shop"], "--root-path=shop must begin with a slash"),
            (["--settings="], "--settings needs a value"),
            (["--workers=4"], "--workers=4 are to run a site: give --settings"),
            (["--workers=-1", SITE], "--workers=-1 must be 0, for threads in this process, to 256"),
            (["--workers=257", SITE], "--workers=257 must be 0"),
            (["--workers=4", "--threads=0", SITE], "--threads is for each of them"),
            (["--stuck-after=4s", SITE], "--stuck-after=4 must be 5 s or more"),
            (["--replace-stuck", SITE], "--replace-stuck replaces worker processes, and there are"),
            (["--start-timeout=0", SITE], "--start-timeout=0 must be above 0"),
            (["--no-listen", "--listen=tcp:1", SITE], "contradict each other"),
            (["--no-listen"], "give --settings"),
            (["--only-channels=a"], "--only-channels is for the workers of a site"),
            (["--exclude-channels=a"], "--exclude-channels is for the workers of a site"),
            (["--only-channels=", SITE], "--only-channels needs a value"),
            (["--reload", SITE], "--reload replaces worker processes, and there are none"),
            (["--only-channels=a", "--only-channels=a", SITE], "--only-channels=a is given twice"),
            (["--listen=tcp:1", "--listen=tcp:2", "--listen=tcp:1"], "--listen=tcp:1 is given"),
            (["--no-listen", "--threads=0", SITE], "leaves nothing to do"),
            (["--unordered=yes"], "--unordered"),
        ],
    )
    def test_a_wrong_value_is_named_in_one_line(self, arguments: list[str], said: str) -> None:
        assert said in refusal(*arguments)

    def test_as_part_of_twistd_a_wrong_value_ends_the_process_with_one_line(self) -> None:
        options = Options()
        options.parent = AnyOptions()
        with pytest.raises(SystemExit) as caught:
            options.parseOptions(["--threads=x"])
        assert isinstance(caught.value.code, str)
        assert caught.value.code.startswith("chanserv: --threads=x is not a whole number")
        assert "\n" not in caught.value.code

    def test_an_access_log_to_standard_output_needs_one(self) -> None:
        for in_foreground in (0, 1):
            options = Options()
            options.parent = AnyOptions()
            options.parent["nodaemon"] = in_foreground
            arguments = ["--access-log=-", SITE]
            if in_foreground:
                options.parseOptions(arguments)
            else:
                with pytest.raises(SystemExit, match="--access-log=- would be lost"):
                    options.parseOptions(arguments)


class TestHelp:
    def test_it_names_every_option_once_with_its_default(self) -> None:
        text = Options().getUsage(width=100)
        for name, choice in CHOICES.items():
            assert text.count(f"\n  --{name}") >= 1, name
            assert choice.doc.split()[0] in text
        assert "[tcp:8000:interface=127.0.0.1]" in text
        assert "[4]" in text
        assert "[32K]" in text

    @pytest.mark.parametrize("width", [80, 100])
    def test_it_fits_the_terminal(self, width: int) -> None:
        text, _, examples = Options().getUsage(width=width).partition("Examples:")
        assert max(map(len, text.splitlines())) <= width
        assert "twistd -n chanserv --settings=mysite.settings" in examples

    def test_every_option_says_what_it_is_for(self) -> None:
        for name, choice in CHOICES.items():
            assert choice.doc.endswith("."), name
