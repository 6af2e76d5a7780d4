"""How calls reach Postgres: concurrent ones share a statement (`Grouping`), on connections of our own (`Postgres`).

Groups form by back-pressure: no call waits for a timer. The first lane takes what is waiting at once. While it is busy
calls gather, so the busier the store, the larger its groups; an idle store answers a single call in a group of one.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Self, TypeAlias, TypeVar, cast

import asyncpg

from schemas.errors import ConfigurationError, InvalidInput, PenstockError, StoreUnavailable
from stores.postgres.errors import DRIVER_ERRORS, connecting, is_of_row, postgres_errors, translated
from stores.postgres.migrations.sessions import CLIENT, settings_of
from stores.postgres.migrations.state import refuse_contracted

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# How many calls may wait before a second connection of those that group calls is used.
MORE_LANES_AFTER: Final = 32
# How exactly the limit of waiting is kept.
LOOK_EVERY_S: Final = 0.25

# One statement for a group: an answer for each item, in order; an error among them is raised to that caller alone.
Run = Callable[[Sequence[Item]], Awaitable[Sequence[Answer | PenstockError]]]


class _Call(NamedTuple, Generic[Item, Answer]):
    item: Item
    answer: asyncio.Future[Answer]
    since_s: float


class Grouping(Generic[Item, Answer]):
    """Runs concurrent `ask`s as groups of at most `largest`, on at most `lanes` groups at a time.

    Waiting is bounded in both senses: beyond `most_waiting` calls, and for calls that found no lane within
    `longest_wait_s`, `StoreUnavailable` is raised; they were not run. A group that takes longer than `longest_run_s`
    goes on, and its callers are told that it is perhaps done. So every `ask` ends within both together.

    A further lane is started once more than `more_lanes_after` calls wait for each one that runs, or one has waited
    for `LOOK_EVERY_S`: so groups form, and a statement that hangs holds up the others no longer than that.

    A group that raises `InvalidInput`, having done nothing, is halved and run again until the culprit stands alone, and
    only its caller sees the error.
    """

    def __init__(
        self,
        run: Run[Item, Answer],
        *,
        lanes: int,
        more_lanes_after: int = 0,
        largest: int = 1000,  # more would only make everybody wait for the slowest
        most_waiting: int = 20_000,
        longest_wait_s: float = 5.0,
        longest_run_s: float = 5.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._lanes = lanes
        self._more_lanes_after = more_lanes_after
        self._largest = largest
        self._most_waiting = most_waiting
        self._longest_wait_s = longest_wait_s
        self._longest_run_s = longest_run_s
        self._clock_s = clock_s
        self._waiting: deque[_Call[Item, Answer]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = False
        self._looking: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Calls that wait for a lane are refused; those in a statement get its answer."""
        while self._waiting:
            _refuse(self._waiting.popleft().answer, StoreUnavailable("the store is closing"))
        if self._looking is not None:
            self._looking.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def waiting(self) -> int:
        """How many calls no lane has taken yet."""
        return len(self._waiting)

    def ask(self, item: Item) -> asyncio.Future[Answer]:
        """What will be answered. To be awaited at once: who is canceled while it waits is passed over."""
        if len(self._waiting) >= self._most_waiting:
            raise StoreUnavailable("too many calls are waiting for the store")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(item, answer, self._clock_s()))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        if len(self._waiting) > len(self._tasks) * self._more_lanes_after:
            self._start_lane()
        return answer

    def _start_lane(self) -> None:
        # A lane that has been started but has not run yet will take all that waits.
        if not self._starting and len(self._tasks) < self._lanes:
            self._starting = True
            self._tasks.add(asyncio.create_task(self._lane()))

    async def _lane(self) -> None:
        self._starting = False
        loop = asyncio.get_running_loop()
        try:
            while group := self._take():
                unanswered = loop.call_later(self._longest_run_s, _refuse_all, group)
                await self._answer(group)
                unanswered.cancel()
        finally:
            # In the same breath as finding nobody waiting: a done-callback would come a moment later, and a call
            # made in between would count on a lane that has gone.
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _refuse_late(self) -> None:
        """Refuse the calls that no lane has come for in time."""
        oldest_s = self._clock_s() - self._longest_wait_s
        while self._waiting and self._waiting[0].since_s < oldest_s:
            _refuse(self._waiting.popleft().answer, StoreUnavailable("the store did not get to this call in time"))

    def _look(self) -> None:
        """Runs now and then while calls wait: all lanes may hang."""
        self._refuse_late()
        self._looking = None
        if self._waiting:
            self._start_lane()
            self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _take(self) -> list[_Call[Item, Answer]]:
        """The next group; empty only if nobody waits any more."""
        self._refuse_late()
        group: list[_Call[Item, Answer]] = []
        while self._waiting and len(group) < self._largest:
            call = self._waiting.popleft()
            if not call.answer.done():  # done: the caller was cancelled
                group.append(call)
        return group

    async def _answer(self, group: Sequence[_Call[Item, Answer]]) -> None:
        try:
            answers = await self._run([call.item for call in group])
        except InvalidInput as error:
            if len(group) == 1:
                _refuse(group[0].answer, error)
                return
            middle = len(group) // 2
            await self._answer(group[:middle])
            await self._answer(group[middle:])
        except Exception as error:
            for call in group:
                _refuse(call.answer, error)
        else:
            for call, answer in zip(group, answers, strict=True):
                if isinstance(answer, PenstockError):
                    _refuse(call.answer, answer)
                elif not call.answer.done():
                    call.answer.set_result(answer)


def _refuse_all(group: Sequence[_Call[Any, Any]]) -> None:
    for call in group:
        _refuse(call.answer, StoreUnavailable("the store did not answer in time", perhaps_done=True))


def _refuse(answer: "asyncio.Future[Answer]", error: Exception) -> None:
    """Each caller gets an error of its own: one raised in many tasks would gather all their tracebacks."""
    if answer.done():
        return
    if isinstance(error, StoreUnavailable):
        own = StoreUnavailable(error.message, perhaps_done=error.perhaps_done)
        own.__cause__ = error.__cause__
        error = own
    answer.set_exception(error)
    answer.exception()  # counts as seen: a caller cancelled in this moment leaves no complaint behind


# No statement here is worth compiling; and what is asked for was nearly always written a moment ago and lies in memory,
# where a page costs the same in any order. In a small table a group of reads then costs a third.
_SETTINGS: Final = {"jit": "off", "random_page_cost": "1.1"}


class Postgres:
    """At most `connections` connections, opened ahead; one that was lost is opened anew by the next call that gets it.
    Not `ahead`, each is opened by the first call that needs it, as for what is seldom asked.

    `timeout_s` bounds each of: waiting for a free connection, connecting, a statement. asyncpg's pool is not used: it
    takes longer to give a connection and to have it back than a statement takes.

    Statements are planned anew each time: a plan kept from when a table was small would scan it after it has grown.
    `only_inserts`: those that read no table have but one plan, and making it anew takes a quarter of their time.

    `role` is how the server knows us. Each connection finds out first whether this version can still use the database.
    """

    def __init__(
        self,
        dsn: str,
        *,
        connections: int,
        timeout_s: float = 5.0,
        role: str = CLIENT,
        only_inserts: bool = False,
        ahead: bool = True,
    ) -> None:
        self._dsn = dsn
        self._ahead = connections if ahead else 0
        self._settings = {
            **_SETTINGS,
            **settings_of(role),
            "plan_cache_mode": f"force_{'generic' if only_inserts else 'custom'}_plan",
        }
        self._connections = connections
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(connections)
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Raises `StoreUnavailable` if nobody answers, `ConfigurationError` if the database does not let us in, or was
        changed by a newer version so that this one cannot use it.
        """
        try:
            with connecting():
                for _ in range(self._ahead):
                    self._free.append(await self._connect())
        except BaseException:
            self._drop_all()
            raise
        self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """Waits for what still runs, and for the server's goodbye, but no longer than for a statement."""
        self._is_open = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                for _place in range(self._connections):
                    await self._places.acquire()
                await asyncio.gather(*(connection.close() for connection in self._free), return_exceptions=True)
        self._drop_all()

    def _drop_all(self) -> None:
        for connection in (*self._free, *self._used):
            connection.terminate()
        self._free.clear()

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[Connection]":
        """Raises `StoreUnavailable`; for what fails once there is a connection, `perhaps_done`."""
        connection = await self._take()
        try:
            yield connection
        except BaseException as error:
            self._failed(connection, error)
            raise
        self._give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> "AsyncIterator[Connection]":
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """As `connection`, written out: a context manager costs a small statement a tenth of its processor time."""
        connection = await self._take()
        try:
            rows = await connection.fetch(sql, *arguments)
        except BaseException as error:
            self._failed(connection, error)
            raise
        self._give_back(connection)
        return rows

    async def _take(self) -> "Connection":
        if self._places.locked():
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._places.acquire()
            except TimeoutError as error:
                raise StoreUnavailable("the database is not available") from error
        else:
            await self._places.acquire()  # at once: needs no timer
        if not self._is_open:
            self._places.release()
            raise StoreUnavailable("the store is not open")
        connection = self._free.pop() if self._free else None
        if connection is None or connection.is_closed():
            try:
                with postgres_errors():
                    connection = await self._connect()
            except ConfigurationError as error:
                self._places.release()
                raise StoreUnavailable(error.message) from error
            except BaseException:
                self._places.release()
                raise
        self._used.add(connection)
        return connection

    def _failed(self, connection: "Connection", error: BaseException) -> None:
        """Raises what a driver's error means to us; any other is the caller's to raise again."""
        self._give_back(connection, error)
        if isinstance(error, DRIVER_ERRORS):
            raise translated(error, perhaps_done=True) from error

    def _give_back(self, connection: "Connection", error: BaseException | None = None) -> None:
        self._used.discard(connection)
        self._places.release()
        if error is None or isinstance(error, PenstockError) or is_of_row(error):
            self._free.append(connection)
        else:  # what state it is in, nobody knows: a statement may still run on it
            connection.terminate()

    async def _connect(self) -> "Connection":
        connection = await asyncpg.connect(
            self._dsn, timeout=self._timeout_s, command_timeout=self._timeout_s, server_settings=self._settings
        )
        try:
            await refuse_contracted(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection
