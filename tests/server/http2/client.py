"""A client of HTTP/2 for the rig: the C{h2} library, on a transport that only remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from tests.server.rig import Client, Rig

Fields = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What has come back on one stream."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    informed: list[int] = field(default_factory=list)


def fields(path: bytes = b"/", method: bytes = b"GET", *more: tuple[bytes, bytes]) -> Fields:
    """A request's."""
    return [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", b"example.org"),
        (b":path", path),
        *more,
    ]


class HTTP2Client:
    """
    One connection.

    @ivar reading: whether it makes room again for what it has got.
    @ivar goaways: last stream and code of each word that the server leaves.
    """

    def __init__(self, rig: Rig, *, window: int | None = None, peer: object = None) -> None:
        self.rig = rig
        self.plain: Client = rig.connect(peer)
        # Nothing is checked of what it sends: tests send what is wrong, too.
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.reading = True
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        self.events: list[Event] = []
        self.settings: dict[int, int] = {}
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.turn()

    @property
    def transport(self) -> Any:
        return self.plain.transport

    def turn(self) -> HTTP2Client:
        """Send what there is to send, and read what comes, until all is quiet."""
        while True:
            data = self.h2.data_to_send()
            self.plain.send(data) if data else self.rig.turn()
            came = self.plain.take()
            if came:
                self._read(came)
            elif not data:
                return self

    def raw(self, data: bytes) -> HTTP2Client:
        """Send bytes of the test's own."""
        self.plain.send(self.h2.data_to_send() + data)
        return self.turn()

    def _read(self, data: bytes) -> None:
        # After a GOAWAY the library would read no more; servers go on sending.
        while data:
            length = 9 + int.from_bytes(data[:3], "big")
            frame, data = data[:length], data[length:]
            if frame[3] == 7:
                last, code = (int.from_bytes(frame[at : at + 4], "big") for at in (9, 13))
                self.goaways.append((last, code))
                continue
            number = int.from_bytes(frame[5:9], "big")
            if number and number not in self.answers:
                continue  # of a stream that the test has begun by itself
            for event in self.h2.receive_data(frame):
                self.events.append(event)
                self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                answer = self.answers[event.stream_id]
                headers = dict(event.headers)
                answer.status = int(headers.pop(b":status"))
                answer.headers = headers
            case InformationalResponseReceived():
                status = int(dict(event.headers)[b":status"])
                self.answers[event.stream_id].informed.append(status)
            case DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.reading and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                self.answers[event.stream_id].ended = True
            case StreamReset():
                self.answers[event.stream_id].reset = int(event.error_code)
            case RemoteSettingsChanged():
                self.settings.update(
                    {int(code): one.new_value for code, one in event.changed_settings.items()}
                )
            case ConnectionTerminated():
                self.goaways.append((event.last_stream_id or 0, int(event.error_code)))
            case _:
                pass

    def begin(self, request: Iterable[tuple[bytes, bytes]], *, ended: bool = True) -> int:
        """Open a stream, without a turn; return its number."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, list(request), end_stream=ended)
        self.answers[number] = Answer()
        return number

    def ask(self, request: Iterable[tuple[bytes, bytes]], body: bytes | None = None) -> Answer:
        """Send one request, and take what comes back."""
        number = self.begin(request, ended=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        self.turn()
        return self.answers[number]

    def get(self, path: bytes = b"/", *more: tuple[bytes, bytes]) -> Answer:
        return self.ask(fields(path, b"GET", *more))

    def cancel(self, number: int) -> None:
        self.h2.reset_stream(number, ErrorCodes.CANCEL)

    @property
    def code(self) -> int | None:
        """With which code the server has ended the connection; else L{None}."""
        return self.goaways[-1][1] if self.goaways and self.plain.gone else None
