"""Receivers on loopback as real sockets, certificates, and a name server, for tests of sending."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.public_addresses import Address
from schemas.webhooks import Limits
from workers.notifier.sending.http_sender import HttpSender
from workers.notifier.sending.protocols import Reply

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b'{"type":"job.succeeded"}'
SIGNED = {"webhook-id": "msg_1", "webhook-timestamp": "1767323045", "webhook-signature": "v1,abc="}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

Handle = Callable[["Heard", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """What a receiver read off the wire."""

    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    names: list[str | None] = field(default_factory=list)  # of servers, as TLS was asked for (SNI)
    reached: bool = False  # what is to be seen of it has come


@dataclass
class Receiver:
    port: int
    heard: Heard

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook?x=1"


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes] | None:
    """One request; None where the other side is gone."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *lines = head.split("\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (entry.partition(": ") for entry in lines)}
    return line, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def answering(*answers: bytes, then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None) -> Handle:
    """Reads requests and gives them these answers, the last one again and again; `then` comes behind each."""

    async def handle(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await read_request(reader):
            heard.requests.append(request)
            writer.write(answers[min(len(heard.requests), len(answers)) - 1])
            await writer.drain()
            if then is not None:
                await then(writer)

    return handle


@asynccontextmanager
async def receiver(
    handle: Handle, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    heard = Heard()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.connections += 1
        try:
            await handle(heard, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: heard.names.append(name)
    server = await asyncio.start_server(connected, host, 0, ssl=tls, ssl_handshake_timeout=60 if tls else None)
    try:
        yield Receiver(server.sockets[0].getsockname()[1], heard)
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def forever(*_: Any) -> None:
    await asyncio.Event().wait()


@dataclass
class FixedNames:
    """A name has these addresses, whatever the host; each time it is asked for, it is counted."""

    found: Sequence[str] = ("127.0.0.1",)
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        return [ip_address(text) for text in self.found]


async def send(sender: HttpSender, url: str, limits: Limits | None = None) -> Reply:
    return await sender.send(url, SIGNED, BODY, limits or Limits(timeout_s=60, connect_timeout_s=60))


@dataclass
class Authority:
    """Makes certificates. `trusting` is a client's context that accepts them."""

    folder: Path

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("an authority of tests", self._key, authority=True)
        path = self.folder / "authority.pem"
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.trusting = ssl.create_default_context(cafile=path)

    def serving(self, host: str, *, days: int = 10, own: bool = False) -> ssl.SSLContext:
        """A server's context, for this host; signed by itself if it is its `own`, and over since if `days` are less."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(host, key, days=days, by=key if own else None)
        path = self.folder / f"{host.replace(':', '_')}-{days}-{own}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        host: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        days: int = 10,
        authority: bool = False,
        by: ec.EllipticCurvePrivateKey | None = None,
    ) -> x509.Certificate:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        signer = by or self._key
        issuer = name(host if by else "an authority of tests")
        now = datetime.now(UTC)
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host) if not authority else x509.DNSName("none.example")
        return (
            x509.CertificateBuilder()
            .subject_name(name(host))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )


@dataclass
class Proxy:
    """An egress proxy: connects to a port on loopback, whatever host it is asked for, or answers as it is told."""

    answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n"
    port: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def handle(self, _heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        self.asked.append(request[:2])
        writer.write(self.answer)
        await writer.drain()
        if not self.answer.startswith(b"HTTP/1.1 200"):
            return
        target = await asyncio.open_connection("127.0.0.1", self.port)
        both = [asyncio.ensure_future(_pipe(reader, target[1])), asyncio.ensure_future(_pipe(target[0], writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            target[1].transport.abort()


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
