"""Contract of `DeliveryLog`: what was delivered, and once more; and what is kept no longer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.webhooks import Circuit, DeliveryState, EventType
from stores.webhooks import DeliveryFilter, Verdict
from tests.contracts.stores.webhook_stores import Webhooks, ids, in_s
from tests.webhooks import NOW, delivery, outcome

MONTH = timedelta(days=30)
DAY_S = 86_400


def made(number: int, target: str = "we_a", **fields: Any) -> Any:
    """The deliveries of this many seconds after now; their ids are in that order."""
    state = fields.get("state", DeliveryState.PENDING)
    ended_at = None if state is DeliveryState.PENDING else in_s(number)
    return delivery(target, **{"created_at": in_s(number), "ended_at": ended_at} | fields)


async def test_deliveries_are_listed_newest_first_page_by_page(webhooks: Webhooks) -> None:
    deliveries = [made(number, f"we_{number % 2}") for number in range(5)]
    await webhooks.write(deliveries)
    await webhooks.write([made(9, tenant="acme")])
    first = (await webhooks.log.list("default", DeliveryFilter(), after=None, limit=2)).deliveries
    second = (await webhooks.log.list("default", DeliveryFilter(), after=first[-1].id, limit=9)).deliveries
    assert ids([*first, *second]) == [each.id for each in reversed(deliveries)]
    assert first[0] == deliveries[4]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DeliveryFilter(), [0, 1, 2, 3]),
        (DeliveryFilter(endpoint="we_b"), [1]),
        (DeliveryFilter(state=DeliveryState.FAILED), [2]),
        (DeliveryFilter(state=DeliveryState.DELIVERED, endpoint="we_a"), [3]),
        (DeliveryFilter(event_type="job.failed"), [1]),
        (DeliveryFilter(subject="job_3"), [3]),
        (DeliveryFilter(created_after=in_s(1)), [2, 3]),
        (DeliveryFilter(created_before=in_s(1)), [0]),
        (DeliveryFilter(created_after=in_s(0), created_before=in_s(3), endpoint="we_a"), [2]),
        (DeliveryFilter(endpoint="we_none"), []),
        (DeliveryFilter(endpoint="a\0b"), []),
        (DeliveryFilter(subject="\ud800"), []),
    ],
)
async def test_those_are_found_that_agree_with_all_that_is_given(
    webhooks: Webhooks, wanted: DeliveryFilter, found: list[int]
) -> None:
    deliveries = [
        made(0),
        made(1, "we_b", event_type=EventType.JOB_FAILED),
        made(2, state=DeliveryState.FAILED),
        made(3, state=DeliveryState.DELIVERED, subject="job_3"),
    ]
    await webhooks.write([*deliveries, made(4, tenant="acme")])
    listed = (await webhooks.log.list("default", wanted, after=None, limit=9)).deliveries
    assert ids(listed) == [deliveries[number].id for number in reversed(found)]


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("state", [None, DeliveryState.FAILED])
async def test_pages_of_what_is_rare_follow_each_other_without_gap_or_repetition(
    webhooks: Webhooks, limit: int, state: DeliveryState | None
) -> None:
    vars(webhooks.log)["_most_looked_at"] = 4
    rare = (1, 8, 9, 10, 16)
    kinds = [EventType.JOB_FAILED if number in rare else EventType.JOB_SUCCEEDED for number in range(20)]
    deliveries = [
        made(number, event_type=kind, state=state or DeliveryState.PENDING) for number, kind in enumerate(kinds)
    ]
    await webhooks.write(deliveries)
    wanted = DeliveryFilter(event_type=EventType.JOB_FAILED, state=state)
    found, after, pages = [], None, 0
    while True:
        page = await webhooks.log.list("default", wanted, after=after, limit=limit)
        assert len(page.deliveries) <= limit
        found += ids(page.deliveries)
        pages, after = pages + 1, page.next_after
        if after is None:
            break
    assert found == [deliveries[number].id for number in reversed(rare)]
    assert pages >= 5


async def test_who_asks_for_a_span_of_time_gets_what_was_created_within(webhooks: Webhooks) -> None:
    await webhooks.added()
    deliveries = [made(hour * 3600, state=DeliveryState.FAILED) for hour in range(12)]
    await webhooks.write(deliveries)
    for after, before, hours in ((3, 6, [5, 4]), (None, 2, [1, 0]), (9, None, [11, 10]), (4, 5, [])):
        wanted = DeliveryFilter(
            created_after=None if after is None else in_s(after * 3600),
            created_before=None if before is None else in_s(before * 3600),
        )
        page = await webhooks.log.list("default", wanted, after=None, limit=20)
        assert ids(page.deliveries) == [deliveries[hour].id for hour in hours]
        assert await webhooks.log.count("default", wanted) == len(hours)


async def test_any_time_may_be_asked_for(webhooks: Webhooks) -> None:
    await webhooks.write([made(0)])
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for wanted, count in (
        (DeliveryFilter(created_after=first, created_before=last), 1),
        (DeliveryFilter(created_after=last), 0),
        (DeliveryFilter(created_before=first), 0),
    ):
        assert len((await webhooks.log.list("default", wanted, after=None, limit=5)).deliveries) == count


async def test_as_many_are_counted_as_a_replay_has_tried_again(webhooks: Webhooks) -> None:
    await webhooks.added("we_a")
    deliveries = [
        made(0, state=DeliveryState.FAILED),
        made(1),
        made(2, "we_gone", state=DeliveryState.FAILED),
        made(3, "origin_x", state=DeliveryState.FAILED, url="https://example.com/"),
        made(4, state=DeliveryState.FAILED, tenant="acme"),
        made(5, state=DeliveryState.DELIVERED),
    ]
    await webhooks.write(deliveries)
    for wanted, meant in (
        (DeliveryFilter(state=DeliveryState.FAILED), [0, 3]),
        (DeliveryFilter(endpoint="we_a"), [0, 5]),
        (DeliveryFilter(endpoint="we_gone"), []),
        (DeliveryFilter(subject="\ud800"), []),
    ):
        assert await webhooks.log.count("default", wanted) == len(meant)
    assert list(await webhooks.log.replay("default", DeliveryFilter(), in_s(100), limit=9)) == [
        deliveries[number].id for number in (0, 3, 5)
    ]
    assert await webhooks.log.count("default", DeliveryFilter()) == 0


async def test_one_is_found_counted_and_replayed_by_its_id(webhooks: Webhooks) -> None:
    await webhooks.added()
    first, second = made(1, state=DeliveryState.FAILED), made(2, state=DeliveryState.FAILED)
    await webhooks.write([first, second])
    wanted = DeliveryFilter(id=first.id)
    assert ids((await webhooks.log.list("default", wanted, after=None, limit=9)).deliveries) == [first.id]
    assert await webhooks.log.count("default", wanted) == 1
    assert await webhooks.log.count("default", DeliveryFilter(id="\0")) == 0
    assert list(await webhooks.log.replay("default", wanted, in_s(100), limit=9)) == [first.id]
    assert await webhooks.found(second) == second


async def test_a_delivery_of_another_tenant_is_not_found(webhooks: Webhooks) -> None:
    (theirs,) = await webhooks.waiting("we_a", tenant="acme")
    assert await webhooks.log.get("default", theirs.id) is None
    assert await webhooks.log.get("acme", theirs.id) == theirs
    assert await webhooks.log.get("acme", "msg_none") is None
    assert await webhooks.log.get("acme", "\0") is None


async def test_a_delivery_is_replayed_under_its_id_by_a_schedule_of_its_own(webhooks: Webhooks) -> None:
    await webhooks.added()
    failed = made(1, state=DeliveryState.FAILED, attempts=10, tried=12, last_status=500)
    await webhooks.write([failed])
    replayed = await webhooks.log.replay("default", DeliveryFilter(subject=failed.subject), in_s(100), limit=5)
    assert list(replayed) == [failed.id]
    again = replace(failed, state=DeliveryState.PENDING, attempts=0, due_at=in_s(100), ended_at=None)
    assert await webhooks.found(failed) == again
    (claim,) = (await webhooks.claim(100)).claims
    assert claim.delivery == again
    assert outcome(claim).attempt.number == 13


async def test_many_are_replayed_step_by_step_oldest_first_and_none_that_waits(webhooks: Webhooks) -> None:
    await webhooks.added()
    ended = [made(number, state=DeliveryState.DELIVERED) for number in range(5)]
    await webhooks.write([*reversed(ended), made(9), made(10, "we_gone", state=DeliveryState.FAILED)])
    steps, after = [], None
    while step := await webhooks.log.replay("default", DeliveryFilter(), in_s(100), after=after, limit=2):
        steps.append(list(step))
        after = step[-1]
    assert [len(step) for step in steps] == [2, 2, 1]
    assert [each for step in steps for each in step] == ids(ended)


async def test_what_is_replayed_for_a_jobs_own_url_is_sent_although_its_origin_was_forgotten(
    webhooks: Webhooks,
) -> None:
    (own,) = await webhooks.waiting("origin_1", url="https://example.com/1")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim)
    await webhooks.queue.purge(in_s(2 * DAY_S), limit=100)
    assert sum((await webhooks.queue.counts()).values()) == 0
    assert await webhooks.log.replay("default", DeliveryFilter(endpoint="origin_1"), in_s(2 * DAY_S), limit=5)
    (again,) = (await webhooks.claim(2 * DAY_S)).claims
    assert again.delivery.id == own.id


async def test_another_tenants_deliveries_are_not_replayed(webhooks: Webhooks) -> None:
    await webhooks.added(tenant="acme")
    theirs = made(1, tenant="acme", state=DeliveryState.FAILED)
    await webhooks.write([theirs])
    assert list(await webhooks.log.replay("default", DeliveryFilter(), in_s(100), limit=5)) == []
    assert await webhooks.found(theirs) == theirs


async def test_a_test_is_a_delivery_as_others_are(webhooks: Webhooks) -> None:
    there = await webhooks.added()
    test = await webhooks.log.add_test(there, "webhook_endpoint.test", in_s(1))
    assert await webhooks.found(test) == test
    assert (test.state, test.created_at, test.due_at) == (DeliveryState.PENDING, in_s(1), in_s(1))
    assert list(
        (await webhooks.log.list("default", DeliveryFilter(endpoint="we_a"), after=None, limit=5)).deliveries
    ) == [test]


async def test_what_ended_is_kept_for_thirty_days(webhooks: Webhooks) -> None:
    await webhooks.added()
    old, young, waits = made(0, state=DeliveryState.FAILED), made(60, state=DeliveryState.DELIVERED), made(70)
    await webhooks.write([old, young, waits])
    assert await webhooks.queue.purge(NOW + MONTH, limit=100) == 0
    assert await webhooks.queue.purge(NOW + MONTH + timedelta(seconds=30), limit=100) == 1
    assert await webhooks.log.get("default", old.id) is None
    assert await webhooks.found(young) == young


async def test_a_purge_takes_no_more_than_it_may_and_goes_on(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.write([made(0, state=DeliveryState.FAILED) for _ in range(5)])
    later = NOW + 2 * MONTH
    assert [await webhooks.queue.purge(later, limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_waited_for_thirty_days_has_failed_and_can_be_replayed(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.endpoints.disable("default", "we_a", "by hand", NOW)
    held = made(0, last_error="it did not answer")
    await webhooks.write([held])
    now = NOW + MONTH + timedelta(seconds=30)
    assert await webhooks.queue.purge(now, limit=100) == 1
    assert await webhooks.found(held) == replace(
        held, state=DeliveryState.FAILED, ended_at=now, last_error="it did not answer; it waited for 30 days"
    )
    assert list(await webhooks.log.replay("default", DeliveryFilter(), now, limit=5)) == [held.id]


async def test_attempts_are_kept_for_thirty_days_by_day(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim, verdict=Verdict.FAILED)
    await webhooks.queue.purge(NOW + MONTH, limit=100)
    assert len(await webhooks.log.attempts(due.id, limit=5)) == 1
    await webhooks.queue.purge(NOW + MONTH + timedelta(days=1), limit=100)
    assert list(await webhooks.log.attempts(due.id, limit=5)) == []


async def test_an_origin_is_forgotten_a_day_after_its_last_use_and_an_endpoint_never(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.waiting("origin_1", "origin_2", url="https://example.com")
    first, _ = (await webhooks.claim()).claims
    await webhooks.record(first)
    assert await webhooks.queue.purge(in_s(DAY_S - 1), limit=100) == 0
    assert await webhooks.queue.purge(in_s(DAY_S + 1), limit=100) == 1
    assert (await webhooks.queue.counts())[Circuit.ACTIVE] == 2
