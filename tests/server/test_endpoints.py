"""Endpoint strings: how they are read, and what they become."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL, crypto
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent

from chanserv.errors import ConfigurationError
from chanserv.server.certificates import TLS_ARGUMENTS, tls_options
from chanserv.server.endpoints import Arguments, endpoint_of, read_description
from chanserv.server.listener import CannotStart, Listener
from tests.certificates import Certificates, make_certificates
from tests.server.rig import outcome_of


class Unwelcoming(Factory[Protocol]):
    """Closes each connection at once: those that are accepted at the end have nobody else."""

    def buildProtocol(self, addr: object) -> None:
        return None


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as those of sockets must be."""
    with TemporaryDirectory(prefix="cs-", dir="/tmp") as made:
        yield Path(made)


def refusal(text: str) -> str:
    error = outcome_of(ConfigurationError, Listener, text, Unwelcoming(), MemoryReactorClock())
    assert isinstance(error, ConfigurationError), f"{text} was taken"
    assert "\n" not in str(error)
    return str(error)


class TestDescriptions:
    @given(
        st.text("abc", min_size=1),
        st.lists(st.text(), max_size=3),
        st.dictionaries(st.text("abcXYZ", min_size=1), st.text(), max_size=3),
    )
    def test_what_was_quoted_comes_out_again(
        self, kind: str, positional: list[str], named: dict[str, str]
    ) -> None:
        # Twisted's function leaves out the sign that is special in values without a name.
        parts = [kind, *(quoteStringArgument(one).replace("=", r"\=") for one in positional)]
        parts += [f"{name}={quoteStringArgument(value)}" for name, value in named.items()]
        read = read_description(":".join(parts))
        assert (read.kind, read.positional, read.named) == (kind, tuple(positional), named)

    @given(st.text(r"ab:=\x"))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        outcome_of(ValueError, read_description, text)

    @pytest.mark.parametrize(
        ("text", "encrypted"),
        [
            ("tcp:80", False),
            ("ssl:443", True),
            ("tls:certs", True),
            ("haproxy:tcp:80", False),
            ("haproxy:ssl:443:privateKey=a", True),
            ("unix:ssl:", False),
        ],
    )
    def test_it_knows_whether_clients_speak_tls(self, text: str, encrypted: bool) -> None:
        assert read_description(text).encrypted is encrypted


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("tcp", "it lacks 'port'"),
            ("unix:", "it lacks 'address'"),
            ("unix:x:mode=9", "'9' is not an octal number"),
            ("unix:x:mode=600:mode=666", "mode= is there twice"),
            ("unix:x:owner=me", "it takes no 'owner', only address, mode"),
            ("fd", "it lacks 'fileno'"),
            ("fd:x", "'x' is not a number"),
            ("fd:9999", "the descriptor 9999 is no socket that this process was started with"),
            ("ssl:443:::::::::", "is one value too many"),
            ("x\\", "it ends with a backslash"),
            ("carrier:pigeon", "there is no endpoint type 'carrier'"),
            ("haproxy:", "there is no endpoint type ''"),
            ("haproxy:tls:certs", "take haproxy:ssl:"),
            ("stdio:", "no place where clients come"),
            ("systemd:domain=INET:index=0", "systemd has not passed such a socket"),
            ("systemd:domain=INET:name=web", "systemd has not passed such a socket"),
            ("systemd:domain=INET", "exactly one of descriptor index or name"),
            ("tls:/there/is/none:443", "no such file or directory: /there/is/none"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, text: str, said: str) -> None:
        assert said in refusal(text)

    # Twisted's own code for this reads names by OpenSSL's old functions.
    @pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")
    def test_a_folder_without_certificates_is_none_for_tls(self, folder: Path) -> None:
        assert "holds no NAME.pem" in refusal(f"tls:{folder}:443")
        files = make_certificates(folder / "files")
        names = folder / "names"
        names.mkdir()
        site = names / "site.pem"
        site.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        assert Listener(f"tls:{names}:443", Unwelcoming(), MemoryReactorClock())
        with open(site, "ab") as file:
            file.write(files.ca.read_bytes())
        assert f"{site} holds the certificate of a root authority" in refusal(f"tls:{names}:443")

    def test_a_descriptor_that_does_not_listen_is_refused(self) -> None:
        with socket.socket() as idle:
            assert "does not listen" in refusal(f"fd:{idle.fileno()}")


class TestCertificates:
    """The files of an C{ssl:} endpoint."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Certificates:
        return make_certificates(tmp_path / "one")

    def shown(self, **values: Any) -> list[bytes]:
        """The certificates that a client is shown."""
        text = ":".join(f"{name}={value}" for name, value in values.items())
        options = tls_options(Arguments(read_description(f"ssl:{text}"), *TLS_ARGUMENTS))
        server = SSL.Connection(options.getContext(), None)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                outcome_of(SSL.WantReadError, one.do_handshake)
                data = outcome_of(SSL.WantReadError, one.bio_read, 65536)
                if isinstance(data, bytes):
                    other.bio_write(data)
        chain = client.get_peer_cert_chain()
        assert chain is not None
        return [crypto.dump_certificate(crypto.FILETYPE_PEM, one) for one in chain]

    def test_one_file_may_hold_the_certificate_and_its_chain(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        full = tmp_path / "fullchain.pem"
        full.write_bytes(files.cert.read_bytes() + files.ca.read_bytes())
        shown = self.shown(privateKey=files.key, certKey=full)
        assert shown == [files.cert.read_bytes(), files.ca.read_bytes()]

    def test_one_file_may_hold_everything(self, files: Certificates, tmp_path: Path) -> None:
        server = tmp_path / "server.pem"
        server.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        assert self.shown(privateKey=server) == [files.cert.read_bytes()]

    def test_the_chain_may_stand_in_a_file_of_its_own(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        chain = tmp_path / "chain.pem"
        for extra in (b"", files.cert.read_bytes()):  # some write the certificate there, too
            chain.write_bytes(extra + files.ca.read_bytes())
            shown = self.shown(privateKey=files.key, certKey=files.cert, extraCertChain=chain)
            assert shown == [files.cert.read_bytes(), files.ca.read_bytes()]

    def test_a_file_that_is_not_there_is_named(self, files: Certificates) -> None:
        text = f"ssl:443:privateKey=/no/key.pem:certKey={files.cert}"
        assert refusal(text).endswith("no such file or directory: /no/key.pem")

    def test_files_in_the_wrong_place_are_named(self, files: Certificates) -> None:
        text = refusal(f"ssl:443:privateKey={files.cert}:certKey={files.cert}")
        assert f"{files.cert} holds no private key in PEM format" in text
        text = refusal(f"ssl:443:privateKey={files.key}:certKey={files.key}")
        assert f"{files.key} holds no certificate in PEM format" in text

    def test_a_broken_certificate_is_named(self, files: Certificates, tmp_path: Path) -> None:
        broken = tmp_path / "broken.pem"
        broken.write_bytes(files.cert.read_bytes().replace(b"M", b"N"))
        text = refusal(f"ssl:443:privateKey={files.key}:certKey={broken}")
        assert f"{broken} holds a certificate that cannot be read" in text

    def test_a_key_of_another_certificate_is_told_of(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        other = make_certificates(tmp_path / "other")
        text = refusal(f"ssl:443:privateKey={other.key}:certKey={files.cert}")
        assert "do not fit together" in text

    def test_an_encrypted_key_is_refused_with_the_way_out(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        key = load_pem_private_key(files.key.read_bytes(), None)
        encrypted = tmp_path / "encrypted.pem"
        encrypted.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        )
        text = refusal(f"ssl:443:privateKey={encrypted}:certKey={files.cert}")
        assert "is encrypted" in text
        assert f"openssl pkey -in {encrypted}" in text


class Listening:
    """A Unix socket that is listened on."""

    def __init__(self, text: str) -> None:
        self.reactor = MemoryReactorClock()
        self.listener = Listener(text, Unwelcoming(), self.reactor)
        self.listener.startService()

    def stop(self) -> None:
        self.listener.stopService()
        self.reactor.advance(0)


def is_taking(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class TestUnixSockets:
    def test_one_is_there_while_it_is_listened_on_and_leaves_nothing(self, folder: Path) -> None:
        path = folder / "a.sock"
        listening = Listening(f"unix:{path}")
        assert is_taking(path)
        assert listening.listener.url == f"unix:{path}"
        listening.stop()
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize(("option", "mode"), [("", 0o666), (":mode=600", 0o600)])
    def test_its_mode_says_who_may_connect(self, folder: Path, option: str, mode: int) -> None:
        path = folder / "a.sock"
        listening = Listening(f"unix:{path}{option}")
        assert stat.S_IMODE(path.stat().st_mode) == mode
        listening.stop()

    def test_one_that_a_killed_process_left_is_replaced(self, folder: Path) -> None:
        path = folder / "a.sock"
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(path))
            killed.listen()
        assert not is_taking(path)
        listening = Listening(f"unix:{path}")
        assert is_taking(path)
        listening.stop()

    def test_one_that_is_listened_on_is_left_alone(self, folder: Path) -> None:
        path = folder / "a.sock"
        first = Listening(f"unix:{path}")
        with pytest.raises(CannotStart, match="in use by another program, which 'ss -lxp' names"):
            Listening(f"unix:{path}")
        assert is_taking(path)
        first.stop()

    def test_one_whose_queue_is_full_is_listened_on(self, folder: Path) -> None:
        path = folder / "a.sock"
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
            busy.bind(str(path))
            busy.listen(0)
            waiting.connect(str(path))
            with pytest.raises(CannotStart, match="in use"):
                Listening(f"unix:{path}")

    def test_another_file_is_left_alone(self, folder: Path) -> None:
        path = folder / "precious"
        path.write_text("text")
        with pytest.raises(CannotStart, match=f"a file that is no socket: {path}"):
            Listening(f"unix:{path}")
        assert path.read_text() == "text"

    def test_a_folder_that_is_not_there_is_named(self, folder: Path) -> None:
        with pytest.raises(CannotStart, match="no such file or directory"):
            Listening(f"unix:{folder}/none/a.sock")

    def test_a_path_that_is_too_long_is_told_of(self, folder: Path) -> None:
        with pytest.raises(CannotStart, match="at most 107 bytes"):
            Listening(f"unix:{folder}/{'x' * 120}")

    def test_one_that_another_process_has_put_there_since_stays(self, folder: Path) -> None:
        path = folder / "a.sock"
        listening = Listening(f"unix:{path}")
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            listening.stop()
            assert is_taking(path)

    def test_one_that_is_gone_already_is_no_trouble_at_the_end(self, folder: Path) -> None:
        listening = Listening(f"unix:{folder}/a.sock")
        (folder / "a.sock").unlink()
        listening.stop()

    def test_one_that_may_not_be_removed_is_told_of(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listening = Listening(f"unix:{folder}/a.sock")

        def may_not(path: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "unlink", may_not)
        with capturedLogs() as events:
            listening.stop()
        monkeypatch.undo()
        assert formatEvent(events[0]).startswith(f"The socket {folder}/a.sock stays where it is")
        assert not is_taking(folder / "a.sock")


class TestLentSockets:
    """Sockets that the process was started with, by their descriptors."""

    def lent(self, family: int, place: Any) -> int:
        with socket.socket(family) as made:
            made.bind(place)
            made.listen()
            return os.dup(made.fileno())

    def test_the_file_of_a_unix_socket_stays_as_it_is(self, folder: Path) -> None:
        path = folder / "a.sock"
        descriptor = self.lent(socket.AF_UNIX, str(path))
        path.chmod(0o600)
        listening = Listening(f"fd:{descriptor}")
        assert listening.listener.url == f"unix:{path}"
        assert is_taking(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        listening.stop()
        assert path.exists()
        assert not is_taking(path)

    def test_each_kind_is_known_by_itself(self) -> None:
        for family, place, url in (
            (socket.AF_INET, ("127.0.0.1", 0), "http://127.0.0.1:"),
            (socket.AF_INET6, ("::1", 0), "http://[::1]:"),
        ):
            from twisted.internet import reactor

            listener = Listener(f"fd:{self.lent(family, place)}", Unwelcoming(), reactor)
            listener.startService()
            assert listener.url.startswith(url)
            listener.stopService()

    def test_a_name_in_the_way_of_daphnes_plugin_is_taken_too(self) -> None:
        descriptor = self.lent(socket.AF_INET, ("127.0.0.1", 0))
        assert endpoint_of(f"fd:fileno={descriptor}", MemoryReactorClock())
        os.close(descriptor)
