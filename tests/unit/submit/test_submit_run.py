import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
import pytest

from penstock.patience import TargetLost
from penstock.submit.outcome import Ending, LineStatus, Outcome
from penstock.submit.run import Run
from producers.bulk.lines import JobLine, LineDefaults
from producers.bulk.stream import Line
from schemas.errors import InvalidInput, JobNotFound
from tests.waiting import eventually

DIGITS = LineDefaults(model="digits")


class FakeSubmission:
    def __init__(self, target: "FakeTarget", line: JobLine) -> None:
        self._target = target
        self._line = line

    async def send(self) -> str:
        self._target.under_way.add(self._line.number)
        self._target.most_under_way = max(self._target.most_under_way, len(self._target.under_way))
        if self._line.number in self._target.lost_at:
            raise TargetLost("gone")
        return f"job-{self._line.number}"

    async def ending(self) -> Ending:
        await self._target.may_end.wait()
        self._target.under_way.discard(self._line.number)
        if self._line.number in self._target.forgotten:
            raise JobNotFound("no such job")
        return Ending(self._target.status(self._line.number), msgspec.Raw(b'{"predictions":[1]}'))


class FakeTarget:
    """Accepts every line; jobs end once `may_end` is set."""

    def __init__(self, status: Callable[[int], LineStatus] = lambda _: LineStatus.SUCCEEDED) -> None:
        self.status = status
        self.may_end = asyncio.Event()
        self.under_way: set[int] = set()
        self.most_under_way = 0
        self.lost_at: set[int] = set()
        self.forgotten: set[int] = set()

    def submission(self, line: JobLine) -> FakeSubmission:
        if bytes(line.input) == b'{"instances":["wrong"]}':
            raise InvalidInput("wrong", param="instances")
        return FakeSubmission(self, line)


async def of(*raws: bytes) -> AsyncIterator[Line]:
    for number, raw in enumerate(raws, 1):
        yield Line(number, raw)


def run_on(target: FakeTarget, told: list[Outcome], *, concurrency: int = 10, wait: bool = True) -> Run:
    return Run(target, lambda outcome, _: told.append(outcome), DIGITS, concurrency=concurrency, wait=wait)


GOOD = b'{"instances":[1],"custom_id":"c"}'


async def test_every_line_has_an_outcome_and_a_wrong_one_stops_no_other() -> None:
    target, told = FakeTarget(), list[Outcome]()
    target.may_end.set()
    run = run_on(target, told)

    await run.over(of(GOOD, b"nonsense", b'{"instances":["wrong"],"custom_id":"w"}', GOOD))

    outcomes = {outcome.line: outcome for outcome in told}
    assert outcomes[1].status is LineStatus.SUCCEEDED
    assert (outcomes[1].id, outcomes[1].custom_id) == ("job-1", "c")
    assert (outcomes[2].status, outcomes[2].id) == (LineStatus.REJECTED, None)
    assert (outcomes[3].status, outcomes[3].custom_id) == (LineStatus.REJECTED, "w")
    assert outcomes[4].status is LineStatus.SUCCEEDED
    assert run.tally == {LineStatus.SUCCEEDED: 2, LineStatus.REJECTED: 2}


async def test_no_more_jobs_are_under_way_than_allowed() -> None:
    target, told = FakeTarget(), list[Outcome]()
    going = asyncio.create_task(run_on(target, told, concurrency=3).over(of(*[GOOD] * 20)))
    await eventually(lambda: len(target.under_way) == 3)
    target.may_end.set()

    await going

    assert target.most_under_way == 3
    assert len(told) == 20


async def test_without_waiting_an_accepted_job_is_an_outcome() -> None:
    target, told = FakeTarget(), list[Outcome]()

    await run_on(target, told, wait=False).over(of(GOOD))

    assert [(outcome.id, outcome.status) for outcome in told] == [("job-1", LineStatus.QUEUED)]


async def test_cut_short_it_tells_what_was_accepted() -> None:
    target, told = FakeTarget(), list[Outcome]()
    going = asyncio.create_task(run_on(target, told).over(of(GOOD, GOOD)))
    await eventually(lambda: len(target.under_way) == 2)

    going.cancel()
    with suppress(asyncio.CancelledError):
        await going

    assert {(outcome.id, outcome.status) for outcome in told} == {
        ("job-1", LineStatus.QUEUED),
        ("job-2", LineStatus.QUEUED),
    }


async def test_a_lost_target_ends_the_run_and_keeps_what_was_accepted() -> None:
    target, told = FakeTarget(), list[Outcome]()
    target.lost_at = {2}

    with pytest.raises(ExceptionGroup) as caught:
        await run_on(target, told).over(of(GOOD, GOOD))

    assert caught.group_contains(TargetLost)
    assert [(outcome.id, outcome.status) for outcome in told] == [("job-1", LineStatus.QUEUED)]


async def test_a_job_that_cannot_be_asked_about_is_unknown_and_keeps_its_id() -> None:
    target, told = FakeTarget(), list[Outcome]()
    target.may_end.set()
    target.forgotten = {1}

    await run_on(target, told).over(of(GOOD))

    assert (told[0].id, told[0].status) == ("job-1", LineStatus.UNKNOWN)
    assert json.loads(msgspec.json.encode(told[0]))["error"]["code"] == "job_not_found"


async def test_an_outcome_is_one_json_object_with_a_result_or_an_error() -> None:
    target, told = FakeTarget(), list[Outcome]()
    target.may_end.set()

    await run_on(target, told).over(of(b'{"instances":[1]}', b"nonsense"))

    told.sort(key=lambda outcome: outcome.line)
    assert json.loads(msgspec.json.encode(told[0])) == {
        "line": 1,
        "custom_id": None,
        "id": "job-1",
        "status": "succeeded",
        "result": {"predictions": [1]},
    }
    assert set(json.loads(msgspec.json.encode(told[1]))) == {"line", "custom_id", "id", "status", "error"}
