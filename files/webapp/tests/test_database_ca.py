"""With a CA, the password is sent only to a server that proves to be the one that was named."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pymysql.constants import CLIENT
from sqlalchemy.exc import OperationalError

from miniwebapp.config import from_environment

REFUSED = b"\xff\x15\x04#28000Access denied"
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(name: str, issuer: Pair | None = None) -> Pair:
    """A certificate for a host name, from an issuer; or a CA's own."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=not issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return made, key


def write(path: Path, pair: Pair) -> Path:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(pair[0].public_bytes(pem) + pair[1].private_bytes(pem, form, serialization.NoEncryption()))
    return path


class Server:
    """The beginning of MySQL's protocol, up to the login, which it refuses."""

    def __init__(self, certificate: Path | None) -> None:
        self.certificate = certificate
        self.logins: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        # The client goes away where it does not trust the server.
        with connection, contextlib.suppress(OSError):
            self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        flags = CLIENT.PROTOCOL_41 | CLIENT.SECURE_CONNECTION | CLIENT.PLUGIN_AUTH
        if self.certificate:
            flags |= CLIENT.SSL
        low, high = (flags & 0xFFFF).to_bytes(2, "little"), (flags >> 16).to_bytes(2, "little")
        greeting = b"\x0a8.4.0\0" + bytes(4) + b"12345678\0" + low + b"\x2d\x02\0" + high + b"\x15" + bytes(10)
        self._send(connection, 0, greeting + b"123456789012\0caching_sha2_password\0")
        asked = self._receive(connection)
        if self.certificate and len(asked) == 32:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            with context.wrap_socket(connection, server_side=True) as secure:
                self._refuse(secure, self._receive(secure))
        else:
            self._refuse(connection, asked)

    def _refuse(self, connection: socket.socket, asked: bytes) -> None:
        self.logins.append(asked)
        self._send(connection, 3, REFUSED)

    def _send(self, connection: socket.socket, number: int, body: bytes) -> None:
        connection.sendall(len(body).to_bytes(3, "little") + bytes([number]) + body)

    def _receive(self, connection: socket.socket) -> bytes:
        stream = connection.makefile("rb", buffering=0)
        length = int.from_bytes((stream.read(4) or bytes(4))[:3], "little")
        return stream.read(length) or b""

    def close(self) -> None:
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path | None], Server]]:
    servers = []

    def start(certificate: Path | None) -> Server:
        servers.append(Server(certificate))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("name", "issuer", "said"),
    [
        ("localhost", "ca", "Access denied"),
        ("other.example", "ca", "Hostname mismatch"),
        ("localhost", "another ca", "certificate verify failed"),
        ("localhost", "", "certificate verify failed"),
        ("", "", "SSL"),
    ],
)
def test_only_the_named_server_gets_the_login(
    serve: Callable[[Path | None], Server], tmp_path: Path, name: str, issuer: str, said: str
) -> None:
    cas = {one: certificate(one) for one in ("ca", "another ca")}
    own = certificate(name, cas.get(issuer)) if name else None
    server = serve(write(tmp_path / "server.pem", own) if own else None)
    environment = {
        "SECRET_KEY": "0123456789abcdef",
        "DATABASE_HOST": "localhost",
        "DATABASE_PORT": str(server.port),
        "DATABASE_NAME": "app",
        "DATABASE_USER": "the_user",
        "DATABASE_PASSWORD": "secret",
        "DATABASE_DRIVER": "pymysql",
        "DATABASE_CA_FILE": str(write(tmp_path / "ca.pem", cas["ca"])),
    }
    engine = sa.create_engine(from_environment(environment)["SQLALCHEMY_DATABASE_URI"])
    with pytest.raises(OperationalError, match=said):
        engine.connect()
    server.close()
    assert any(b"the_user" in login for login in server.logins) is (said == "Access denied")
