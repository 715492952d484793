"""Parses an endpoint as people write it, makes channels to it, and explains why one could not be made."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed
from urllib.parse import urlsplit

import grpc

from ._core import types as t
from ._version import __version__
from .errors import EndpointError, HandshakeError, LockbrokerError, ProtocolError, TlsError

_NEVER = 2**31 - 1
_OPTIONS: list[tuple[str, int | str]] = [
    # Channels of one process share their connections otherwise. A link needs one of its own: a broker that drains is
    # left by making a new one.
    ("grpc.use_local_subchannel_pool", 1),
    # It would hijack even Unix sockets and localhost.
    ("grpc.enable_http_proxy", 0),
    # A stream that is opened again behind our back would not be the one whose locks we know.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # It would close a stream that is silent, and closing is the client's word.
    ("grpc.keepalive_time_ms", _NEVER),
    # For the channel of single calls, which connects again by itself. Others are thrown away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.primary_user_agent", f"lockbroker-python/{__version__}"),
]


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files by which a client verifies its broker, and proves its own identity."""

    ca: str | None = None
    """The authorities that the broker's certificate must come from. None: the system's."""
    cert: str | None = None
    """The client's certificate."""
    key: str | None = None
    """Its private key."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. They are read for each connection, so that one made after a renewal shows the new ones."""
        if (self.cert is None) != (self.key is None):
            raise TlsError("tls_cert and tls_key belong together: give both, or neither")
        try:
            _check(self)
        except ssl.SSLError as error:
            raise TlsError(f"{self._named()}: {error.reason or error}") from error
        roots = _read(self.ca) if self.ca else _system_roots()
        key, cert = (_read(self.key), _read(self.cert)) if self.key and self.cert else (None, None)
        return grpc.ssl_channel_credentials(roots, key, cert)

    def _named(self) -> str:
        return ", ".join(file for file in (self.ca, self.cert, self.key) if file)


def _check(files: TlsFiles) -> None:
    # gRPC would say only that a handshake failed.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca:
        _read(files.ca)
        context.load_verify_locations(files.ca)
    if files.cert and files.key:
        _read(files.cert), _read(files.key)
        context.load_cert_chain(files.cert, files.key)


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise TlsError(f"cannot read {file}: {error.strerror}") from error


def _system_roots() -> bytes | None:
    """Returns the authorities that the system trusts. None: those that gRPC brings."""
    paths = ssl.get_default_verify_paths()
    for file in (paths.cafile, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        if file and os.path.exists(file):
            return _read(file)
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode() or None


@dataclass(frozen=True)
class Endpoint:
    """A broker's address."""

    name: str
    """The endpoint as given."""
    target: str
    """The address as gRPC writes it."""
    tls: TlsFiles | None
    """The files for TLS; none for plain text."""

    def channel(self) -> grpc.Channel:
        """Makes a channel with a connection of its own."""
        options = [*_OPTIONS]
        if self.target.startswith("unix:"):
            options.append(("grpc.default_authority", "localhost"))
        if self.tls is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self.tls.credentials(), options)

    def explained(self, failure: t.Failure) -> t.Failure:
        """Says why there is no answer from this broker, in words for people. May ask it, for up to a second.

        A disagreement that would be the same again has the code HANDSHAKE.
        """
        text = failure.message
        if failure.reason or failure.code is not t.Code.UNAVAILABLE:
            return failure
        is_refused = "failed to connect to all addresses" in text
        if is_refused:
            text = text.partition("last error: ")[2] or text
            text = text.removeprefix("UNKNOWN: ").removeprefix("UNAVAILABLE: ")
        is_closed = any(sign in text for sign in _CLOSED)
        if self.tls is not None:
            disagreement = self._tls_disagreement(text)
        elif is_refused and (is_closed or any(sign in text for sign in _NO_HTTP2)):
            disagreement = self._plain_disagreement(text)
        else:
            disagreement = None
        if disagreement is not None:
            return t.Failure(t.Code.HANDSHAKE, str(disagreement), disagreement=disagreement)
        if is_closed:
            text = (
                f"it was closed before an answer came ({text}): the broker has as many clients as its "
                "--max-connections allows, or is ending, and its log says which"
            )
        return changed(failure, message=text)

    def _tls_disagreement(self, text: str) -> LockbrokerError | None:
        # gRPC's core says only this when the broker turns away a certificate, or wants one.
        if any(sign in text for sign in _TURNED_AWAY):
            if self.tls is not None and self.tls.cert is None:
                why = "the broker lets in only clients that show a certificate: give tls_cert and tls_key"
            else:
                why = (
                    "the broker does not accept this client's certificate: it has expired, or comes from no authority "
                    "of the broker's --tls-client-ca"
                )
            return HandshakeError(self.name, f"{why} ({text})")
        for sign, kind, why in _TLS_SIGNS:
            if sign in text:
                return kind(self.name, f"{why} ({text})")
        return None

    def _plain_disagreement(self, text: str) -> LockbrokerError | None:
        first = _first_byte(self.target)
        if first == _TLS_ALERT:
            return ProtocolError(self.name, "it speaks TLS; write https://")
        if first not in (b"", _HTTP2):
            why = "it does not speak HTTP/2, as brokers do; check the address, or write https:// for TLS"
            return ProtocolError(self.name, why)
        return None


_HTTP2 = b"\0"
"""The first byte of HTTP/2. A server begins with a frame of settings, and its length is below 2**16."""
_TLS_ALERT = b"\x15"
"""The first byte of an alert of TLS: the answer to what is no TLS."""


def _first_byte(target: str) -> bytes:
    """Returns the first byte that a server answers HTTP/2 with; nothing if it says none. gRPC does not tell it."""
    if not target.startswith("dns:///"):
        return b""
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            return connection.recv(1)
    except OSError:
        return b""


# The words of gRPC's core and of BoringSSL. Where they change, the error is `Unavailable` with these words in it.
_CLOSED = ("Socket closed", "Connection reset by peer", "GOAWAY", "Broken pipe")
_TURNED_AWAY = ("Unwrap failed", "Secure read failed", "_ALERT_")
_NO_HTTP2 = ("Expected SETTINGS frame", "Failed parsing HTTP/2", "HTTP/1", "Unexpected")
_TLS_SIGNS: list[tuple[str, Callable[[str, str], LockbrokerError], str]] = [
    ("WRONG_VERSION_NUMBER", ProtocolError, "it speaks no TLS; write http:// for plain text"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        HandshakeError,
        "no authority that this client trusts vouches for the broker, or its certificate has expired; name its "
        "authority by tls_ca",
    ),
    (
        "ostname",
        HandshakeError,
        "the broker's certificate is for other names; name the broker as one of them",
    ),
    ("eer certificate", HandshakeError, "the broker's certificate is for other names; name the broker as one of them"),
    ("andshake failed", HandshakeError, "the two sides found no way to speak TLS"),
]


def parse(text: str, files: TlsFiles) -> Endpoint:
    """Parses an endpoint. Fails if it is none, or if it needs the TLS files and they cannot be used."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise EndpointError(text, "the path of a Unix socket begins with /")
        return Endpoint(text, f"unix:{path}", None)
    scheme, sign, rest = text.partition("://")
    if not sign:
        scheme, rest = "http", text
        if files != TlsFiles():
            # Plain text would be a surprise: the files say that TLS is meant.
            why = f"with certificates it has to say if it speaks TLS: https://{text} or http://{text}"
            raise EndpointError(text, why)
    if scheme not in ("http", "https"):
        raise EndpointError(text, f"there is no scheme {scheme}://")
    try:
        url = urlsplit(f"//{rest}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise EndpointError(text, str(error)) from None
    if not host or url.username is not None or any(not char.isprintable() or char.isspace() for char in rest):
        raise EndpointError(text, "there is no host" if not host else "there is something beside host and port")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise EndpointError(text, "there is something after the port")
    if port is None:
        # A URL has the port of its scheme; a host alone is a port forgotten.
        if not sign:
            raise EndpointError(text, "there is no port")
        port = 443 if scheme == "https" else 80
    if port == 0:
        raise EndpointError(text, "nobody listens at port 0")
    if ":" in host:
        host = f"[{host}]"
    if scheme == "https":
        files.credentials()
    return Endpoint(text, f"dns:///{host}:{port}", files if scheme == "https" else None)
