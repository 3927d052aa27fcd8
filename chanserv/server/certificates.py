"""
The certificate, the key and the chain of an C{ssl:} endpoint, read at the start,
with a word on the file that cannot be used.
"""

# mypy: allow-untyped-calls
# (OpenSSL's wrappers have few types)

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters
from twisted.python.filepath import FilePath

from chanserv.errors import ConfigurationError

if TYPE_CHECKING:
    from chanserv.server.endpoints import Arguments

TLS_ARGUMENTS: Final = ("privateKey", "certKey", "sslmethod", "extraCertChain", "dhParameters")
"""What an C{ssl:} endpoint takes for TLS, under Twisted's names."""

_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL
)


def tls_options(take: Arguments) -> CertificateOptions:
    """
    Make what TLS needs of the files that an endpoint names.

    The file of the certificate may hold those of its authorities after it, as a
    C{fullchain.pem} does; C{extraCertChain} names a file with more of them.

    @raise ConfigurationError: one of them cannot be used.
    @raise OSError: one of them cannot be read.
    """
    key_path = take.text("privateKey", "server.pem")
    certificate_path = take.text("certKey", key_path)
    certificate, *chain = _certificates(certificate_path)
    if extra := take.text("extraCertChain", ""):
        chain += [one for one in _certificates(extra) if _der(one) != _der(certificate)]
    settings: dict[str, Any] = {}
    if method := take.text("sslmethod", ""):
        settings["method"] = getattr(SSL, method)
    if parameters := take.text("dhParameters", ""):
        settings["dhParameters"] = DiffieHellmanParameters.fromFile(FilePath(parameters))
    options = CertificateOptions(
        privateKey=_key(key_path),
        certificate=certificate,
        extraCertChain=chain,
        **settings,
    )
    try:
        options.getContext()
    except SSL.Error as error:
        raise ConfigurationError(
            f"the key {key_path} and the certificate {certificate_path} do not fit together "
            f"({_words(error)})"
        ) from error
    return options


def _certificates(path: str) -> list[crypto.X509]:
    """All certificates of a file, one at least, in their order."""
    with open(path, "rb") as file:
        found = _CERTIFICATE.findall(file.read())
    if not found:
        raise ConfigurationError(f"{path} holds no certificate in PEM format")
    try:
        return [crypto.load_certificate(crypto.FILETYPE_PEM, one) for one in found]
    except crypto.Error as error:
        raise ConfigurationError(f"{path} holds no certificate that can be read") from error


def _key(path: str) -> crypto.PKey:
    with open(path, "rb") as file:
        data = file.read()
    if b"ENCRYPTED" in data:
        raise ConfigurationError(
            f"the key {path} is encrypted, and nobody is here to give its passphrase: write it "
            f"without one (openssl pkey -in {path} -out plain.pem), readable for its user alone"
        )
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data)
    except (crypto.Error, ValueError) as error:
        raise ConfigurationError(f"{path} holds no private key in PEM format") from error


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def _words(error: SSL.Error) -> str:
    """OpenSSL's reason."""
    try:
        return str(error.args[0][0][-1])
    except (IndexError, TypeError):
        return str(error)
