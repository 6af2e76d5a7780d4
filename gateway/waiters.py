"""Requests that wait for a job: for how long (RFC 7240), who still does, and what they are woken by.

That is news of finished jobs; since these may be lost, they also look by themselves now and then.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from starlette.types import Receive

from schemas.errors import OutcomeUnknown, StoreUnavailable
from schemas.jobs import Job, Terminal, ended
from schemas.names import new_instance
from stores.protocols import JobKey, Jobs, News

# How often a waiter asks the store by itself: while news arrive, and while they do not.
SLOW_S: Final = 2.0
FAST_S: Final = 0.25
LIMIT: Final = 20_000
# A job without a row is listed no later: sooner than workers tell that they run it (0.25 s), so that a row can note it.
ROW_AFTER_S: Final = 0.2
MAX_WAIT_S: Final = 60
# How long a client may have to wait longer than it asked for, where the store does not answer.
READ_GRACE_S: Final = 2.0
# A task for each request that waits costs more than to find out a second late that nobody does.
NOTICED_AFTER_S: Final = 1.0


class Preferences(msgspec.Struct, frozen=True):
    """What the client prefers: to wait at most `wait_s` seconds, or to be answered at once."""

    wait_s: int | None = None
    respond_async: bool = False

    @property
    def applied(self) -> bytes | None:
        """The value of `Preference-Applied`; a longer wait than we allow is applied as the longest."""
        applied = []
        if self.respond_async:
            applied.append(b"respond-async")
        if self.wait_s is not None:
            applied.append(b"wait=%d" % self.wait_s)
        return b", ".join(applied) or None


NONE: Final = Preferences()


def parse_preferences(values: Iterable[bytes]) -> Preferences:
    """Preferences from the values of all `Prefer` headers; the first of a name counts (RFC 7240, section 2).

    Unknown and malformed preferences are ignored.
    """
    found: dict[str, str] = {}
    for value in values:
        for preference in value.decode("latin-1").split(","):
            name, _, argument = preference.partition(";")[0].partition("=")
            found.setdefault(name.strip().lower(), argument.strip().strip('"'))
    return Preferences(_seconds(found.get("wait")), "respond-async" in found)


def _seconds(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return min(int(text), MAX_WAIT_S)


WriteRow = Callable[[Job], Coroutine[Any, Any, Job]]


class Watch:
    """One request's place among the waiters of a job. `end` is how it ended, where that was told."""

    __slots__ = ("_waits", "_woken", "end")

    def __init__(self) -> None:
        self.end: Terminal | None = None
        self._waits = False
        self._woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    @property
    def waits(self) -> bool:
        """Whether it does at this moment, and was not woken."""
        return self._waits and not self._woken.done()

    async def woken(self, timeout_s: float) -> None:
        """Return when woken, or after `timeout_s` seconds."""
        loop = asyncio.get_running_loop()
        if not self._woken.done():
            timer = loop.call_later(timeout_s, self.wake)
            self._waits = True
            try:
                await self._woken
            finally:
                self._waits = False
                timer.cancel()
        self._woken = loop.create_future()


class Waiters:
    """All waiting requests of this process, which goes by the name `instance` where ends are told."""

    def __init__(
        self, jobs: Jobs, news: News, *, limit: int = LIMIT, slow_s: float = SLOW_S, fast_s: float = FAST_S
    ) -> None:
        self._jobs = jobs
        self._news = news
        self.instance = new_instance()
        self._limit = limit
        self._count = 0
        self._slow_s = slow_s
        self._fast_s = fast_s
        self._watches: dict[JobKey, dict[Watch, None]] = {}  # of one key in the order in which they came
        self.draining = False

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether nobody else may wait: a preference is not a right, so they are answered at once."""
        return self.draining or self._count >= self._limit

    def granted(self, headers: Iterable[tuple[bytes, bytes]]) -> Preferences:
        """What is followed of what a request's headers prefer: where nobody may wait, no wait."""
        values = [value for name, value in headers if name == b"prefer"]
        preferences = parse_preferences(values) if values else NONE
        if preferences.wait_s and self.full:
            return msgspec.structs.replace(preferences, wait_s=None)
        return preferences

    async def follow(self) -> None:
        """Wake whoever waits for a job that is told to be done. Runs until canceled."""
        async for told in self._news.done(self.instance):
            for item in told:
                if isinstance(item, Terminal):
                    self.answer(item)
                else:
                    self.wake(item)

    def answer(self, end: Terminal) -> None:
        """Wake whoever waits for this end, with it."""
        for watch in self._watches.get(JobKey(end.tenant, end.id), ()):
            watch.end = end
            watch.wake()

    def wake(self, key: JobKey) -> None:
        for watch in self._watches.get(key, ()):
            watch.wake()

    def wake_one(self, key: JobKey) -> None:
        """Of those who wait for the key the one that came first: for what one of them takes."""
        for watch in self._watches.get(key, ()):
            if watch.waits:
                watch.wake()
                return

    def drain(self) -> None:
        """Let every waiter answer what it has now; later ones do not wait at all."""
        self.draining = True
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

    @contextmanager
    def watch(self, key: JobKey) -> Iterator[Watch]:
        """A place among the job's waiters. Taken before the job is read, so that no news slips between."""
        watch = Watch()
        watches = self._watches.setdefault(key, {})
        watches[watch] = None
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            del watches[watch]
            if not watches and self._watches.get(key) is watches:
                del self._watches[key]

    async def finished(
        self, sent: Job, watch: Watch, wait_s: float, gone: asyncio.Event, write: WriteRow | None
    ) -> Job | None:
        """A job just sent, with its end, if that comes in time and the client is not `gone`. `write` writes down its
        row, where it has none yet.

        Raises `OutcomeUnknown` where it has neither row nor end in time.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        if write is not None:
            sent = await self._end_or_row(sent, watch, until_s, gone, write)
            if sent.done:
                return sent
        key, left_s = JobKey(sent.tenant, sent.id), max(0.0, until_s - loop.time())
        try:
            async with asyncio.timeout_at(until_s + READ_GRACE_S):
                job = await self.until(key, watch, _is_done, left_s, gone, sent=sent)
        except (StoreUnavailable, TimeoutError):
            return None  # it is accepted all the same
        return job if job is not None and job.done else None

    async def until(
        self,
        key: JobKey,
        watch: Watch,
        enough: Callable[[Job | None], bool],
        timeout_s: float,
        gone: asyncio.Event,
        *,
        sent: Job | None = None,
    ) -> Job | None:
        """Read the job again and again until it is `enough`, time is up, the gateway drains, or the client is `gone`.

        Returns the job as last read. A job just `sent` need not be looked at first, since it cannot have ended, nor
        once its end is told.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if sent is not None and not self.draining:
            await watch.woken(min(timeout_s, self.interval_s))
        while True:
            if sent is not None and watch.end is not None:
                return ended(sent, watch.end)
            job = await self._jobs.get(key)
            left_s = deadline - loop.time()
            if enough(job) or left_s <= 0 or self.draining or gone.is_set():
                return job
            await watch.woken(min(left_s, self.interval_s))

    async def _end_or_row(self, sent: Job, watch: Watch, until_s: float, gone: asyncio.Event, write: WriteRow) -> Job:
        """The job with its end, where that is told within `ROW_AFTER_S`; else once its row is there, by `write`.

        Raises `OutcomeUnknown` where there is neither in time, or `READ_GRACE_S` later where the store does not answer.
        """
        loop = asyncio.get_running_loop()
        while True:
            left_s = until_s - loop.time()
            if not (self.draining or gone.is_set()):
                await watch.woken(max(0.0, min(left_s, ROW_AFTER_S)))
            if watch.end is not None:
                return ended(sent, watch.end)
            try:
                return await _unless_ended(sent, watch, write(sent), until_s + READ_GRACE_S)
            except StoreUnavailable as error:
                if left_s <= 0 or self.draining or gone.is_set():
                    raise OutcomeUnknown("the job is in its lane, and its row could not be written") from error

    @property
    def interval_s(self) -> float:
        """Seconds between a waiter's own looks."""
        return self._slow_s if self._news.connected else self._fast_s


def _is_done(job: Job | None) -> bool:
    return job is None or job.done


async def _unless_ended(sent: Job, watch: Watch, writing: Coroutine[Any, Any, Job], until_s: float) -> Job:
    """What `writing` returns, or the end, should that be told before. Raises `StoreUnavailable`.

    A row that is given up may be written all the same: it says what is true, and the end changes it.
    """
    loop = asyncio.get_running_loop()

    def wake(row: "asyncio.Task[Job]") -> None:
        if not row.cancelled():
            row.exception()  # has been seen: the end may be told before it
        watch.wake()

    row = loop.create_task(writing)
    row.add_done_callback(wake)
    try:
        while not row.done() and watch.end is None and (left_s := until_s - loop.time()) > 0:
            await watch.woken(left_s)
    finally:
        row.cancel()
    if watch.end is not None:
        return ended(sent, watch.end)
    if not row.done():
        raise StoreUnavailable("the store did not answer in time")
    return row.result()


@contextmanager
def noticed(receive: Receive, wake: Callable[[], None], after_s: float = NOTICED_AFTER_S) -> Iterator[asyncio.Event]:
    """An event that is set, and `wake` called, once the client closes the connection. The body must have been read.

    Nobody listens before `after_s`: most waits are over by then, and who left before is noticed then.
    """
    gone = asyncio.Event()
    listening: list[asyncio.Task[None]] = []

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        wake()

    loop = asyncio.get_running_loop()
    timer = loop.call_later(after_s, lambda: listening.append(loop.create_task(listen())))
    try:
        yield gone
    finally:
        timer.cancel()
        for task in listening:
            task.cancel()
