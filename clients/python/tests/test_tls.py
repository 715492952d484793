"""TLS and mTLS, with certificates that are made here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

import lockbroker
from lockbroker import HandshakeError, ProtocolError, TlsError

from .support import Broker, eventually


@dataclass(frozen=True)
class Files:
    ca: str
    cert: str
    key: str
    other_ca: str
    other_cert: str
    other_key: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")

    def make(who: str) -> tuple[str, str, str]:
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost")
        paths = [str(folder / f"{who}-{part}.pem") for part in ("ca", "cert", "key")]
        ca.cert_pem.write_to_path(paths[0])
        leaf.cert_chain_pems[0].write_to_path(paths[1])
        leaf.private_key_pem.write_to_path(paths[2])
        return paths[0], paths[1], paths[2]

    return Files(*make("ours"), *make("theirs"))


@pytest.fixture(scope="module")
def broker(files: Files) -> Iterator[Broker]:
    with Broker("--tls-cert", files.cert, "--tls-key", files.key, "--store", "memory") as broker:
        yield broker


@pytest.fixture(scope="module")
def mutual(files: Files) -> Iterator[Broker]:
    tls = ("--tls-cert", files.cert, "--tls-key", files.key, "--tls-client-ca", files.ca)
    with Broker(*tls, "--store", "memory") as broker:
        yield broker


def refused(client: lockbroker.Client, kind: type[Exception], why: str) -> None:
    """Both ways to ask fail at once, and would again."""
    began = time.monotonic()
    with client:
        with pytest.raises(kind, match=why):
            client.lock("x", wait=20)
        with pytest.raises(kind, match=why):
            client.get("x")
    assert time.monotonic() - began < 4


def test_tls(broker: Broker, files: Files) -> None:
    with lockbroker.connect(f"https://localhost:{broker.port}", tls_ca=files.ca) as client, client.lock("x") as lock:
        lock.check()
        assert client.get("x", lock.lock_id).remaining


def test_tls_from_the_environment(broker: Broker, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKBROKER_SERVER", f"https://localhost:{broker.port}")
    monkeypatch.setenv("LOCKBROKER_CLIENT_TLS_CA", files.ca)
    with lockbroker.connect() as client, client.lock("environment"):
        pass
    monkeypatch.setenv("LOCKBROKER_CLIENT_TLS_CERT", files.cert)
    with pytest.raises(TlsError, match="belong together"):
        lockbroker.connect()


def test_mutual_tls(mutual: Broker, files: Files) -> None:
    url = f"https://localhost:{mutual.port}"
    with lockbroker.connect(url, tls_ca=files.ca, tls_cert=files.cert, tls_key=files.key) as client:
        with client.lock("x"):
            assert client.get("x").state is lockbroker.LockState.HELD


def test_a_certificate_is_missing(mutual: Broker, files: Files) -> None:
    client = lockbroker.connect(f"https://localhost:{mutual.port}", tls_ca=files.ca)
    refused(client, HandshakeError, "show a certificate")


def test_a_certificate_of_somebody_else(mutual: Broker, files: Files) -> None:
    identity = {"tls_cert": files.other_cert, "tls_key": files.other_key}
    client = lockbroker.connect(f"https://localhost:{mutual.port}", tls_ca=files.ca, **identity)  # type: ignore[arg-type]
    refused(client, HandshakeError, "does not accept this client's certificate")


def test_an_authority_that_does_not_vouch_for_the_broker(broker: Broker, files: Files) -> None:
    url = f"https://localhost:{broker.port}"
    refused(lockbroker.connect(url, tls_ca=files.other_ca), HandshakeError, "no authority that this client trusts")
    refused(lockbroker.connect(url), HandshakeError, "no authority that this client trusts")


def test_a_name_that_the_certificate_does_not_have(broker: Broker, files: Files) -> None:
    refused(lockbroker.connect(f"https://127.0.0.1:{broker.port}", tls_ca=files.ca), HandshakeError, "other names")


def test_plain_text_where_tls_is_spoken(broker: Broker, files: Files) -> None:
    refused(lockbroker.connect(f"http://localhost:{broker.port}"), ProtocolError, "https://")


def test_tls_where_plain_text_is_spoken(world: object, files: Files) -> None:
    with Broker("--store", "memory") as plain:
        client = lockbroker.connect(f"https://localhost:{plain.port}", tls_ca=files.ca)
        refused(client, ProtocolError, "it speaks no TLS; write http://")


def test_files_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(TlsError, match="cannot read /nowhere"):
        lockbroker.connect("https://localhost", tls_ca="/nowhere")
    with pytest.raises(TlsError, match=r"broken\.pem"):
        lockbroker.connect("https://localhost", tls_ca=broken)
    with pytest.raises(TlsError, match=r"(?i)mismatch"):
        lockbroker.connect("https://localhost", tls_cert=files.cert, tls_key=files.other_key)
    with pytest.raises(TlsError, match="belong together"):
        lockbroker.connect("https://localhost", tls_cert=files.cert)
    with pytest.raises(lockbroker.EndpointError, match="https://localhost:1 or http://localhost:1"):
        lockbroker.connect("localhost:1", tls_ca=files.ca)


def test_renewed_certificates_are_used(files: Files, tmp_path: Path) -> None:
    paths = [tmp_path / part for part in ("ca", "cert", "key")]

    def copy(*sources: str) -> None:
        for path, source in zip(paths, sources, strict=True):
            path.write_bytes(Path(source).read_bytes())

    copy(files.other_ca, files.other_cert, files.other_key)
    tls = ("--tls-cert", str(paths[1]), "--tls-key", str(paths[2]), "--drain", "0s")
    broker = Broker(*tls, "--store", "memory")
    with broker, lockbroker.connect(f"https://localhost:{broker.port}", tls_ca=paths[0]) as client:
        client.lock("x").release()
        copy(files.ca, files.cert, files.key)
        broker.signal(15)
        broker.wait()
        again = ("--listen", f"127.0.0.1:{broker.port}", "--tls-cert", files.cert, "--tls-key", files.key)
        with Broker(*again, "--store", "memory"):
            eventually("the new ones are used", lambda: client.try_lock("x", wait=5)).release()
