"""
The C{h2} library, set up for a server.
"""

from __future__ import annotations

from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import Encoder

from chanserv.server.http2.heads import FIELD_OVERHEAD
from chanserv.server.limits import Limits

WINDOWS: Final = 4
"""How many streams' windows the window of a connection is: one upload does not
take all of it, and many do not bring four megabytes at once."""


TABLE: Final = 4096
"""Bytes of response headers that compression remembers for one connection: what the
protocol begins with.  A client may allow four gigabytes, and the library would
fill them, and look through all of them for each header."""


class _Encoder(Encoder):
    """The library's, which shall take no more memory than it likes itself."""

    @property
    def header_table_size(self) -> int:
        """Bytes that it remembers at most."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size, before = min(value, TABLE), self.header_table.maxsize
        self.header_table.maxsize = size
        if size != before:
            # Of many changes the smallest and the last are told (RFC 7541, section 4.2).
            smallest = min([size, *self.table_size_changes])
            self.table_size_changes = [smallest] if size == smallest else [smallest, size]
        self.header_table.resized = bool(self.table_size_changes)


class _Machine(H2Connection):
    """The library's, which shall not remember the end of 65,536 streams."""

    MAX_CLOSED_STREAMS = 1024


def make_machine(limits: Limits) -> H2Connection:
    """
    Set up the library.

    Headers are checked by L{chanserv.server.http2.heads}, since the library ends
    the connection where one request is malformed, with all streams of others that
    a proxy may have put on it.
    """
    machine = _Machine(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    told = {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.http2_streams,
        SettingCodes.INITIAL_WINDOW_SIZE: limits.http2_window,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
    }
    machine.encoder = _Encoder()
    machine.local_settings = Settings(client=False, initial_values=told)
    machine.initiate_connection()
    # A client may open streams before it has read how many: those too many are
    # refused here, one by one, and do not end the connection.
    del told[SettingCodes.MAX_CONCURRENT_STREAMS]
    machine.local_settings = Settings(client=False, initial_values=told)
    # Room for headers that are answered 431; what is above that ends the connection.
    machine.decoder.max_header_list_size = (
        2 * limits.header_bytes + FIELD_OVERHEAD * limits.header_count
    )
    machine.increment_flow_control_window(
        max(1, WINDOWS * limits.http2_window - machine.inbound_flow_control_window)
    )
    return machine
