"""A job's changes of state as server-sent events (WHATWG HTML, section 9.2)."""

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.answers import encode_job
from gateway.services import Services
from gateway.waiters import noticed
from schemas.errors import StoreUnavailable
from schemas.job_documents import Notice
from schemas.jobs import Job
from stores.protocols import JobKey

# Below the idle limits of common proxies.
HEARTBEAT_S: Final = 15.0
RECONNECT_MS: Final = 2000


class EventStream(Response):
    """The stream itself. An event's id is the job's status, and the hold that it waits for, so that a client that comes
    back is told only news: another status, or that the job is held or is held no more."""

    def __init__(self, services: Services, key: JobKey, job: Job, last_seen: str | None) -> None:
        super().__init__(media_type="text/event-stream")
        # A stream has no length; buffering proxies would keep its events to themselves.
        self.raw_headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self._services = services
        self._key = key
        self._job: Job | None = job
        self._last_seen = last_seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send(send, b"retry: %d\n\n" % RECONNECT_MS)
        waiters = self._services.waiters
        with waiters.watch(self._key) as watch, noticed(receive, watch.wake) as gone:
            while True:
                await self._tell_news(send)
                if self._job is None or self._job.done or gone.is_set() or waiters.draining:
                    break
                try:
                    self._job = await waiters.until(self._key, watch, self._is_news, HEARTBEAT_S, gone)
                except StoreUnavailable:
                    await asyncio.sleep(waiters.interval_s)  # the stream outlives a store that comes back
        await send({"type": "http.response.body", "body": b""})

    def _is_news(self, job: Job | None) -> bool:
        return job is None or _id_of(job, self._services.serving.notice(job)) != self._last_seen

    async def _tell_news(self, send: Send) -> None:
        await self._send(send, self._news() or b": heartbeat\n\n")

    def _news(self) -> bytes | None:
        """The event to tell, if the client does not know it."""
        if self._job is None:
            return None
        notice = self._services.serving.notice(self._job)
        event_id = _id_of(self._job, notice)
        if event_id == self._last_seen:
            return None
        self._last_seen = event_id
        document = encode_job(self._job, self._services.links, notice)
        data = b"\n".join(b"data: " + line for line in document.splitlines())  # a worker's JSON may have breaks
        return b"event: status\nid: %b\n%b\n\n" % (event_id.encode(), data)

    @staticmethod
    async def _send(send: Send, body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _id_of(job: Job, notice: Notice | None) -> str:
    return job.status if notice is None or notice.held is None else f"{job.status} {notice.held.id}"
