"""
The certificate, the key and the chain of an C{ssl:} endpoint, read at the start,
with a word on the file that cannot be used.
"""

# mypy: allow-untyped-calls
# (OpenSSL's wrappers have few types)

from __future__ import annotations

import os
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
_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL
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


def check_folder(folder: str) -> None:
    """
    See that a C{tls:} endpoint can use the certificates of C{folder}.

    @raise ConfigurationError: there are none, or one is that of a root authority:
        Twisted follows the chain from each certificate to its issuer, and would go
        from a root to itself without end.
    @raise OSError: the folder or one of its files cannot be read.
    """
    os.listdir(folder or ".")  # which says what is wrong with it
    paths = [
        os.path.join(within, name)
        for within, _, names in os.walk(folder or ".")
        for name in names
        if name.endswith(".pem")
    ]
    if not paths:
        raise ConfigurationError(
            f"the folder {folder} holds no NAME.pem, with key, certificate and chain in one file, "
            f"for a name that clients ask for"
        )
    for path in paths:
        with open(path, "rb") as file:
            data = file.read()
        keys = [_public(_loaded_key(one, path)) for one in _KEY.findall(data)]
        for one in _CERTIFICATE.findall(data):
            certificate = _loaded(one, path).to_cryptography()
            if certificate.issuer == certificate.subject and certificate.public_key() not in keys:
                raise ConfigurationError(
                    f"{path} holds the certificate of a root authority, which clients have "
                    f"themselves: leave it out of this file"
                )


def _public(key: crypto.PKey) -> Any:
    private: Any = key.to_cryptography_key()
    return private.public_key()


def _certificates(path: str) -> list[crypto.X509]:
    """All certificates of a file, one at least, in their order."""
    with open(path, "rb") as file:
        found = _CERTIFICATE.findall(file.read())
    if not found:
        raise ConfigurationError(f"{path} holds no certificate in PEM format")
    return [_loaded(one, path) for one in found]


def _loaded(data: bytes, path: str) -> crypto.X509:
    try:
        return crypto.load_certificate(crypto.FILETYPE_PEM, data)
    except crypto.Error as error:
        raise ConfigurationError(f"{path} holds a certificate that cannot be read") from error


def _key(path: str) -> crypto.PKey:
    with open(path, "rb") as file:
        return _loaded_key(file.read(), path)


def _loaded_key(data: bytes, path: str) -> crypto.PKey:
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
