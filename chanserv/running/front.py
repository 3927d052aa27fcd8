"""
The interface server as a part of what one process serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chanserv.errors import ConfigurationError
from chanserv.interfaces import IChannelLayer
from chanserv.layers.reach import keeps_a_roll
from chanserv.running.config import Config
from chanserv.server import InterfaceServer
from chanserv.server.access_log import AccessLog
from chanserv.server.listener import Listener
from chanserv.server.proxies import ProxyHeaders, TrustedProxies

if TYPE_CHECKING:
    from chanserv.service import ChanservService


def add_interface_server(
    service: ChanservService, config: Config, layer: IChannelLayer, reactor: Any
) -> None:
    """
    Give C{service} an interface server, and the endpoints that C{config} names.

    @raise ConfigurationError: an endpoint is none, or the access log cannot be opened.
    """
    if config.access_log is not None:
        try:
            service.access_log = AccessLog(
                config.access_log,
                reactor,
                # Together with the log itself; programs that read files of their own
                # know the combined format.
                as_json=config.log_format == "json" and config.access_log == "-",
            )
        except OSError as error:
            raise ConfigurationError(
                f"--access-log={config.access_log} cannot be opened: {error.strerror}; give a "
                f"file in a directory that this user may write to, or '-'"
            ) from error
        service.call_from_thread = reactor.callFromThread
    service.server = InterfaceServer(
        layer,
        reactor,
        limits=config.limits,
        ordered=config.ordered,
        compression=config.compression,
        access_log=service.access_log,
        root_path=config.root_path,
        proxies=_proxies(config),
        request_ids=config.request_ids,
        server_name=config.server_name,
        watch_workers=keeps_a_roll(layer),
    )
    service.connections = config.limits.connections
    for description in config.listen:
        service.listeners.append(
            Listener(
                description,
                service.server.factory,
                reactor,
                line_timeout=config.limits.header_timeout,
            )
        )


def _proxies(config: Config) -> ProxyHeaders | None:
    if not config.proxy_headers:
        return None
    trusted = TrustedProxies(config.trusted_proxies)
    return ProxyHeaders(trusted, config.proxy_headers_host, config.proxy_headers_port)
