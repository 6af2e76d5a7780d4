"""The network under the connection pools: addresses that were checked are dialled, and answers are bounded."""

import asyncio
import errno
import ssl
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn

import httpcore2

from schemas.public_addresses import Address
from stores.webhooks import Verdict
from workers.notifier.sending.names import Names
from workers.notifier.sending.refusals import NotSent

# Of one answer, its head included. What it says is in its status; the rest is read for the log, and to use the
# connection again.
MOST_ANSWER_BYTES: Final = 16 * 1024
# Each line of a head, and each part of a body, costs time of the one processor that all else is sent by.
MOST_ANSWER_LINES: Final = 256
# At a time, so that no answer of thousands of tiny parts holds the event loop.
_READ_BYTES: Final = 2048

_MOST_DIALLED: Final = 4

# No connection can be opened by us, wherever it leads to.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AnswerTooLong(Exception):
    """More came than `MOST_ANSWER_BYTES` or `MOST_ANSWER_LINES`."""


class Dialer(httpcore2.AsyncNetworkBackend):
    """A host is resolved once, and only the addresses that came of that are dialled; so TLS, which is begun above, has
    the name of the host to check, and nothing here looks that name up again."""

    def __init__(self, names: Names, dialled: httpcore2.AsyncNetworkBackend | None = None) -> None:
        self._names = names
        self._network = httpcore2.AnyIOBackend() if dialled is None else dialled

    async def warm(self) -> None:
        """Load what the network's library loads when it is first asked for something."""
        await self._network.sleep(0)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002  # the pools give none
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._names.addresses(host.strip("[]"))
        if timeout is None:
            raise ValueError("whoever dials has a limit of time")
        return BoundedStream(await self._first(addresses[:_MOST_DIALLED], port, timeout))

    async def _first(self, addresses: Sequence[Address], port: int, timeout_s: float) -> httpcore2.AsyncNetworkStream:
        """To the first address that answers. Each has its share of the time, and what those before it left."""
        ends_at = asyncio.get_running_loop().time() + timeout_s
        silent = False
        for number, address in enumerate(addresses):
            share_s = (ends_at - asyncio.get_running_loop().time()) / (len(addresses) - number)
            try:
                return await self._network.connect_tcp(str(address), port, timeout=max(share_s, 0.0))
            except httpcore2.ConnectTimeout:
                silent = True
            except httpcore2.ConnectError as error:
                if _is_ours(error):
                    raise NotSent(Verdict.OURS, "we can open no further connection at the moment") from error
        text = "it did not accept a connection in time" if silent else "it refused the connection, or cannot be reached"
        raise NotSent(Verdict.FAILED, text)

    async def connect_unix_socket(self, *_args: object, **_options: object) -> NoReturn:
        raise NotImplementedError("nothing is sent to a file")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _is_ours(error: BaseException | None) -> bool:
    """Whether what it was made of, error by error, says that we have run out of something."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _OURS:
            return True
        error = error.__cause__
    return False


class BoundedStream(httpcore2.AsyncNetworkStream):
    """Raises `AnswerTooLong` once more than an answer may have was read since something was written."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._answer = bytearray()
        self._is_spent = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left_bytes = MOST_ANSWER_BYTES - len(self._answer)
        if left_bytes <= 0 or self._answer.count(b"\n") > MOST_ANSWER_LINES:
            raise AnswerTooLong
        await asyncio.sleep(0)  # data that is there already is given at once, over TLS
        data = await self._stream.read(min(max_bytes, left_bytes, _READ_BYTES), timeout)
        self._answer += data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._answer.clear()
        await self._stream.write(buffer, timeout)

    def end(self, body: bytes) -> None:
        """The answer is over, and this was its body. What came behind it would be read as the answer to the request
        that comes next: there is none on this connection."""
        behind_head = self._answer.partition(b"\r\n\r\n")[2]
        is_chunked = behind_head.endswith(b"0\r\n\r\n") and b"HTTP/1." not in behind_head
        self._is_spent = (behind_head != body and not is_chunked) or _holds_more(self.get_extra_info("ssl_object"))
        self._answer.clear()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:  # a limit of time, too: nobody above closes what was not agreed on
            await self._stream.aclose()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._is_spent:
            return True  # by which the pool knows a connection that its server has closed
        return self._stream.get_extra_info(info)


def _holds_more(tls: ssl.SSLObject | None) -> bool:
    """Whether it has read more than it has given, or nothing more will come."""
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        pass
    return True
