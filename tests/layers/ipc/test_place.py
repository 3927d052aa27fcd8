"""Where processes meet: private, locked by one, and named as anyone likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chanserv.errors import ConfigurationError, LayerUnavailable
from chanserv.layers.ipc import place
from chanserv.layers.ipc.place import Place, default_directory


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Test directories have long paths; what is tried here is something else.
    monkeypatch.setattr(place, "MAX_SOCKET_PATH", 1_000)
    return tmp_path_factory.mktemp("ipc") / "private"


class TestTheDirectory:
    def test_it_is_made_for_the_user_alone(self, directory: Path) -> None:
        Place("name", str(directory)).prepare()
        assert directory.stat().st_mode & 0o777 == 0o700
        Place("name", str(directory)).prepare()

    def test_it_is_made_with_all_that_leads_there(self, directory: Path) -> None:
        Place("name", str(directory / "deep" / "down")).prepare()
        assert (directory / "deep" / "down").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o777])
    def test_one_that_others_may_enter_is_refused(self, directory: Path, mode: int) -> None:
        directory.mkdir()
        directory.chmod(mode)
        with pytest.raises(LayerUnavailable, match=f"open to others .mode {mode:o}.*mode 700"):
            Place("name", str(directory)).prepare()

    def test_a_symbolic_link_is_refused(self, directory: Path) -> None:
        target = directory.parent / "target"
        target.mkdir(mode=0o700)
        directory.symlink_to(target)
        with pytest.raises(LayerUnavailable, match="is a symbolic link"):
            Place("name", str(directory)).prepare()

    def test_one_of_another_user_is_refused(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory.mkdir(mode=0o700)
        me = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: me + 1)
        with pytest.raises(LayerUnavailable, match=f"belongs to user {me}, .* user {me + 1}"):
            Place("name", str(directory)).prepare()

    def test_one_that_cannot_be_made_is_said(self, directory: Path) -> None:
        directory.write_text("a file")
        with pytest.raises(LayerUnavailable, match="cannot be used"):
            Place("name", str(directory / "below")).prepare()

    def test_it_is_the_systems_own_for_the_user_where_there_is_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
        assert default_directory() == "/run/user/1/chanserv"
        for value in ("", "not/absolute"):
            monkeypatch.setenv("XDG_RUNTIME_DIR", value)
            assert default_directory() == f"/tmp/chanserv-{os.geteuid()}"

    @pytest.mark.parametrize("given", ["relative/path", 5])
    def test_it_must_be_an_absolute_path(self, given: object) -> None:
        with pytest.raises(ConfigurationError, match="absolute path"):
            Place("name", given)  # type: ignore[arg-type]


class TestTheName:
    def test_any_text_will_do(self, directory: Path) -> None:
        names = ["site", "a/b", "../../etc/x", "with space", "ümlaut", ".", "..", "a%2Fb", "\n"]
        places = [Place(name, str(directory)) for name in names]
        for one in places:
            one.prepare()
            assert Path(one.socket_path).parent == directory
            lock = one.try_lock()
            assert lock is not None
            lock.release()
        assert len({one.socket_path for one in places}) == len(names)
        assert {path.parent for path in directory.rglob("*")} == {directory}

    @pytest.mark.parametrize("name", ["", None, 7])
    def test_none_at_all_is_refused(self, name: object) -> None:
        with pytest.raises(ConfigurationError, match=r"needs a name .* such as 'ipc:mysite'"):
            Place(name)  # type: ignore[arg-type]

    def test_one_too_long_for_a_socket_is_refused_with_the_way_out(self) -> None:
        Place("x" * 80, "/tmp/dir")
        with pytest.raises(ConfigurationError, match=r"of 114 bytes, and 100 .* shorter name"):
            Place("x" * 100, "/tmp/dir")


class TestTheLock:
    def test_one_at_a_time_has_it(self, directory: Path) -> None:
        one, other = Place("name", str(directory)), Place("name", str(directory))
        one.prepare()
        lock = one.try_lock()
        assert lock is not None
        assert lock.holds()
        assert other.try_lock() is None
        assert Place("another", str(directory)).try_lock() is not None
        lock.release()
        lock.release()
        assert not lock.holds()
        assert other.try_lock() is not None

    def test_a_file_that_was_left_behind_means_nothing(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        (directory / "name.lock").write_text("4711")
        assert where.try_lock() is not None

    def test_a_lock_on_a_file_that_was_replaced_no_longer_holds(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        lock = where.try_lock()
        assert lock is not None
        (directory / "name.lock").unlink()
        assert not lock.holds()
        assert where.try_lock() is not None
        assert not lock.holds()

    def test_it_can_be_kept_young(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        lock = where.try_lock()
        assert lock is not None
        os.utime(directory / "name.lock", (1, 1))
        lock.touch()
        assert (directory / "name.lock").stat().st_mtime > 1
        lock.release()
        lock.touch()

    def test_a_symbolic_link_in_its_place_is_refused(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        (directory / "name.lock").symlink_to(directory / "elsewhere")
        with pytest.raises(LayerUnavailable, match="cannot be opened"):
            where.try_lock()

    def test_it_ends_with_its_process(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        code = (
            "import sys, time\n"
            "from chanserv.layers.ipc import place\n"
            "place.MAX_SOCKET_PATH = 1000\n"
            f"lock = place.Place('name', {str(directory)!r}).try_lock()\n"
            "print('held' if lock else 'not held', flush=True)\n"
            "time.sleep(600)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            assert where.try_lock() is None
            process.kill()
        assert where.try_lock() is not None

    def test_an_old_socket_is_removed_and_none_is_no_trouble(self, directory: Path) -> None:
        where = Place("name", str(directory))
        where.prepare()
        where.clear_socket()
        Path(where.socket_path).touch()
        where.clear_socket()
        assert not Path(where.socket_path).exists()
        Path(where.socket_path).mkdir()
        with pytest.raises(LayerUnavailable, match="cannot be removed"):
            where.clear_socket()
