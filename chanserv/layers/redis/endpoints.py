"""How a server is reached: by TCP, TLS or a Unix socket, and why it was not."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    VerifyError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from chanserv.errors import ConfigurationError
from chanserv.layers.redis.hosts import HostEndpoint
from chanserv.layers.redis.server import Address, Server, Tls

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


def tcp_endpoint(
    address: Address, tls: Tls | None, reactor: Any, timeout: float
) -> IStreamClientEndpoint:
    """
    The endpoint of a host and a port.

    @param tls: how TLS is spoken there; L{None} for none.
    @raise ConfigurationError: a file of C{tls} cannot be used.
    """
    host, port = address
    endpoint = HostEndpoint(reactor, host, port, timeout)
    return endpoint if tls is None else wrapClientTLS(tls_options(tls, host), endpoint, reactor)


def unix_endpoint(server: Server, reactor: Any) -> IStreamClientEndpoint:
    """The endpoint of a Unix socket."""
    return UNIXClientEndpoint(  # type: ignore[no-untyped-call]
        reactor, server.path, server.connect_timeout
    )


def tls_options(tls: Tls, host: str) -> Any:
    """
    What makes TLS connections to C{host}.

    @raise ConfigurationError: a file cannot be used.
    """
    own = _own_certificate(tls)
    trust = None if not tls.verify else _authorities(tls)
    if tls.verify and tls.check_hostname:
        return optionsForClientTLS(host, trustRoot=trust, clientCertificate=own)
    options: Any = CertificateOptions(
        privateKey=None if own is None else own.privateKey.original,
        certificate=None if own is None else own.original,
        trustRoot=trust,
    )
    return _AnyHost(options.getContext(), host)


@implementer(IOpenSSLClientConnectionCreator)
class _AnyHost:
    """Makes TLS connections to whoever answers, whatever its certificate names."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See L{IOpenSSLClientConnectionCreator}."""
        connection = SSL.Connection(self._context, None)
        if not re.fullmatch(r"[0-9.]+|.*:.*", self._host):
            connection.set_tlsext_host_name(self._host.encode("idna"))
        connection.set_app_data(protocol)
        return connection


def _authorities(tls: Tls) -> Any:
    if tls.ca_certs is None:
        return platformTrust()  # type: ignore[no-untyped-call]
    found = _PEM.findall(_bytes_of("ca_certs", tls.ca_certs))
    if not found:
        raise ConfigurationError(f"ca_certs {tls.ca_certs!r} holds no certificate in PEM form")
    try:
        certificates = [Certificate.loadPEM(one) for one in found]
        return trustRootFromCertificates(certificates)  # type: ignore[no-untyped-call]
    except crypto.Error as error:
        raise ConfigurationError(f"ca_certs {tls.ca_certs!r} cannot be read: {error}") from None


def _own_certificate(tls: Tls) -> PrivateCertificate | None:
    if tls.certfile is None:
        return None
    keyfile = tls.keyfile or tls.certfile
    certificate, key = _bytes_of("certfile", tls.certfile), _bytes_of("keyfile", keyfile)
    try:
        loaded = KeyPair.load(key, crypto.FILETYPE_PEM)
        made: PrivateCertificate = PrivateCertificate.fromCertificateAndKeyPair(  # type: ignore[no-untyped-call]
            Certificate.loadPEM(certificate), loaded
        )
        return made
    except (crypto.Error, VerifyError, ValueError) as error:
        raise ConfigurationError(
            f"certfile {tls.certfile!r} and keyfile {keyfile!r} cannot be used: {error}"
        ) from None


def _bytes_of(option: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option} {path!r} cannot be read: {error.strerror}") from None


def connected(endpoint: IStreamClientEndpoint, factory: IProtocolFactory) -> Deferred[Any]:
    """
    Connect.

    @return: fires with the protocol.  Cancelled, it fails with a plain
        C{CancelledError}, where Twisted's endpoints have an error of their own,
        which time-outs and loops would take for any failure.
    """
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addErrback(_plainly_cancelled)


def _plainly_cancelled(failure: Failure) -> Failure:
    if failure.check(ConnectingCancelledError):  # type: ignore[no-untyped-call]
        raise CancelledError
    return failure


def why_not_reached(failure: Failure) -> str:
    """Say in a few words why a connection was not made, or ended."""
    error = failure.value
    if isinstance(error, VerificationError):
        return "its certificate does not name this host"
    if isinstance(error, SSL.Error):
        # The last entry of OpenSSL's queue says most.
        entries = error.args[0] if error.args else ()
        return f"TLS failed: {entries[-1][-1] if entries else 'it ended'}"
    if isinstance(error, ConnectionDone | ConnectionLost):
        return "it closed the connection"
    if isinstance(error, (TimeoutError, ConnectTimeout, CancelledError)):
        return "it did not answer in time"
    if isinstance(error, ConnectError) and isinstance(error.osError, int):
        return os.strerror(error.osError)
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix("An error occurred while connecting: ").rstrip(".")
