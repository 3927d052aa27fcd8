"""Tests for C{chanserv.running.workers} and C{chanserv.running.child}, without a process."""

from __future__ import annotations

import os
import re
import signal
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from twisted.internet.defer import fail
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent

from chanserv.core.defaults import WORKERS_GROUP
from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.running.child import config_of, find_code, orders
from chanserv.running.config import Config, OnlyThisProcess
from chanserv.running.workers import (
    check_mark,
    folder_to_work_in,
    heed_hangups,
    layer_mark,
    layer_to_supervise,
    make_supervisor,
    with_release,
)
from chanserv.service import make_service
from tests.test_service import shared_layer_for_tests
from tests.worker.fakes import TurningReactor

CONFIG = Config(settings="mysite.settings", layer="ipc:mysite", workers=2, threads=3)


class TestTheLayer:
    def test_one_that_is_named_in_full_needs_no_look_at_the_site(self) -> None:
        assert layer_to_supervise(CONFIG) == "ipc:mysite"

    def test_one_that_only_this_process_reaches_is_refused(self) -> None:
        config = Config(settings="mysite.settings", layer="memory:", workers=2)
        with pytest.raises(OnlyThisProcess, match=r"--workers=2 needs a layer.*--layer=ipc:NAME"):
            make_service(config, TurningReactor())

    def test_its_mark_is_the_same_for_the_same_layer_whatever_the_order(self) -> None:
        one = {"BACKEND": "x", "CONFIG": {"hosts": [("a", 1)], "capacity": 5}}
        same = {"CONFIG": {"capacity": 5, "hosts": [["a", 1]]}, "BACKEND": "x"}
        other = {"CONFIG": {"capacity": 5, "hosts": [["b", 1]]}, "BACKEND": "x"}
        assert layer_mark(one) == layer_mark(same) != layer_mark(other)

    def test_its_mark_tells_no_password_and_minds_no_odd_value(self) -> None:
        assert re.fullmatch("[0-9a-f]{16}", layer_mark("redis://:secret@host/0"))
        odd = {"CONFIG": {re.compile("a"): 1, "b": object(), "c": {None: b"x"}, "d": 1.5}}
        assert layer_mark(odd) == layer_mark(odd)

    def test_a_worker_refuses_another_layer_than_its_supervisors(self) -> None:
        check_mark("", "ipc:mysite")
        check_mark(layer_mark("ipc:mysite"), "ipc:mysite")
        with pytest.raises(ConfigurationError, match="CHANNEL_LAYERS now names another layer"):
            check_mark(layer_mark("ipc:mysite"), "ipc:other")


class TestTheRoll:
    def test_a_worker_that_has_ended_is_struck_off_even_if_the_layer_is_away(self) -> None:
        layer = shared_layer_for_tests()
        layer.extensions = ("groups",)
        discarded = []

        def group_discard(group: str, channel: str):
            discarded.append((group, channel))
            return fail(LayerUnavailable("away"))

        layer.group_discard = group_discard
        supervisor = make_supervisor(CONFIG, "ipc:mysite", layer, MemoryReactorClock())
        assert supervisor.on_left is not None
        supervisor.on_left("chanserv.worker.x!roll")
        assert discarded == [(WORKERS_GROUP, "chanserv.worker.x!roll")]

    def test_where_there_is_no_roll_nobody_is_struck_off(self) -> None:
        layer = shared_layer_for_tests()
        assert make_supervisor(CONFIG, "x", layer, MemoryReactorClock()).on_left is None


class TestOrders:
    def test_a_worker_gets_the_config_without_what_is_for_servers(self) -> None:
        config = Config(
            settings="mysite.settings",
            layer="ipc:mysite",
            workers=2,
            threads=3,
            only_channels=("a", "b"),
            release="r7",
            root_path="/shop",
            reload=True,
            replace_stuck=True,
        )
        made = config_of({**orders(config, "mark"), "of a later version": 1})
        assert made.workers == 0
        assert made.listen == ()
        assert made.layer_mark == "mark"
        for name in ("settings", "layer", "threads", "only_channels", "release", "root_path"):
            assert getattr(made, name) == getattr(config, name)

    def test_orders_are_plain(self) -> None:
        import json

        told = orders(Config(settings="x", layer="ipc:x", workers=1))
        assert json.loads(json.dumps(told)).keys() == told.keys()
        assert len(told) < len(fields(Config)) + 2


class TestTheFolder:
    @pytest.fixture
    def releases(self, tmp_path: Path, monkeypatch) -> Path:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        (tmp_path / "current").symlink_to(tmp_path / "one")
        monkeypatch.chdir(tmp_path / "current")
        monkeypatch.setattr(sys, "path", list(sys.path))
        return tmp_path

    def test_it_is_the_one_by_whose_name_it_was_entered(self, releases, monkeypatch) -> None:
        monkeypatch.setenv("PWD", str(releases / "current"))
        assert folder_to_work_in() == str(releases / "current")

    @pytest.mark.parametrize("name", ["", "current", "/nonesuch", "/tmp"])
    def test_a_name_for_another_folder_is_not_believed(self, releases, monkeypatch, name) -> None:
        monkeypatch.setenv("PWD", name)
        assert folder_to_work_in() == str(releases / "one")

    def test_a_worker_goes_where_its_name_leads_by_then(self, releases, monkeypatch) -> None:
        # As "python -m" leaves it.
        sys.path.insert(0, str(releases / "one"))
        (releases / "new").symlink_to(releases / "two")
        (releases / "new").replace(releases / "current")
        find_code({"folder": str(releases / "current"), "path": [str(releases / "current"), "/x"]})
        assert os.getcwd() == str(releases / "two")
        assert sys.path[:2] == [str(releases / "current"), "/x"]
        assert str(releases / "one") not in sys.path

    def test_one_that_is_gone_is_said(self, releases) -> None:
        with pytest.raises(ConfigurationError, match="/nonesuch: No such file or directory"):
            find_code({"folder": "/nonesuch", "path": []})


class TestTheRelease:
    def test_a_label_is_itself(self) -> None:
        assert with_release(Config(release="r7")).release == "r7"

    def test_or_it_stands_in_a_file_beside_the_code(self, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "RELEASE").write_text("r8\n")
        monkeypatch.chdir(tmp_path)
        config = with_release(Config(release="@RELEASE"))
        assert (config.release, config.release_from) == ("r8", f"@{tmp_path}/RELEASE")

    def test_without_that_file_nothing_starts(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match="--release=@x: there is no file"):
            with_release(Config(release="@x"))


class TestHangups:
    @pytest.fixture(autouse=True)
    def signals(self):
        before = signal.getsignal(signal.SIGHUP)
        yield
        signal.signal(signal.SIGHUP, before)

    def test_they_replace_workers(self) -> None:
        wishes = []

        class Supervisor:
            replace = staticmethod(wishes.append)

        heed_hangups(Supervisor(), lambda answer: answer())
        os.kill(os.getpid(), signal.SIGHUP)
        assert wishes == ["SIGHUP"]

    def test_where_none_are_it_is_said_what_does_instead(self) -> None:
        heed_hangups(None, lambda answer: answer())
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGHUP)
        assert "SIGHUP changes nothing here" in formatEvent(events[0])
        assert "--workers=N" in formatEvent(events[0])
