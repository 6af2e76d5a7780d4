"""Contract of `PulledEvents`: deliveries for receivers that come for them."""

from collections.abc import Sequence

import msgspec
import pytest

from schemas.webhooks import FAILURES_OPEN, Circuit, DeliveryState, EventType, Mode, Replay, Revision
from stores.webhooks import Claim, Verdict
from tests.contracts.stores.building import Stores, ended, key_of
from tests.contracts.stores.webhook_stores import Webhooks, ids, in_s
from tests.webhooks import NOW, SEALED, delivery


async def pull(webhooks: Webhooks, after_s: float = 0, limit: int = 10) -> Sequence[Claim]:
    return await webhooks.pulled.pull("default", "we_a", in_s(after_s), limit=limit, lease_s=30)


def leases(*claims: Claim) -> list[tuple[str, str]]:
    return [(claim.delivery.id, claim.lease) for claim in claims]


async def test_events_are_pulled_oldest_first_and_each_by_one(webhooks: Webhooks) -> None:
    there = await webhooks.added(url=None)
    due = [delivery(created_at=in_s(number)) for number in range(3)]
    await webhooks.write(list(reversed(due)))
    first = await pull(webhooks, 10, limit=2)
    assert [claim.delivery for claim in first] == due[:2]
    assert (first[0].endpoint, first[0].secrets, first[0].leased_until) == (there, SEALED, in_s(40))
    assert ids(await pull(webhooks, 11)) == [due[2].id]
    assert list(await pull(webhooks, 12)) == []


async def test_it_is_told_where_something_is_due(webhooks: Webhooks) -> None:
    async def due(after_s: float = 0) -> Sequence[str]:
        return sorted(await webhooks.pulled.due(["we_a", "we_b", "we_none"], in_s(after_s)))

    await webhooks.added(url=None)
    await webhooks.added("we_b", url=None)
    assert await due() == []
    await webhooks.waiting("we_a", "we_a")
    assert await due() == ["we_a"]
    claims = await pull(webhooks)
    assert await due(29) == []
    assert await due(30) == ["we_a"], "what is not acknowledged is due again"
    await webhooks.pulled.acknowledge("default", "we_a", leases(*claims), in_s(31))
    assert await due(31) == []
    await webhooks.waiting("we_b")
    await webhooks.endpoints.disable("default", "we_b", "over", in_s(31))
    assert await due(31) == [], "nothing can be pulled there"


async def test_what_was_received_is_delivered(webhooks: Webhooks) -> None:
    await webhooks.added(url=None)
    due = await webhooks.waiting("we_a", "we_a")
    first, second = await pull(webhooks)
    acknowledged = await webhooks.pulled.acknowledge("default", "we_a", leases(second, first), in_s(5))
    assert list(acknowledged) == [second.delivery.id, first.delivery.id]
    found = [await webhooks.found(each) for each in due]
    assert {(each.state, each.ended_at, each.tried) for each in found} == {(DeliveryState.DELIVERED, in_s(5), 1)}
    assert list(await webhooks.pulled.acknowledge("default", "we_a", leases(first), in_s(6))) == []
    standing = (await webhooks.endpoints.standing("default", ["we_a"]))["we_a"]
    assert (standing.pending, standing.health.succeeded_at) == (0, in_s(5))


async def test_what_is_not_acknowledged_comes_again_and_the_first_is_too_late(webhooks: Webhooks) -> None:
    await webhooks.added(url=None)
    await webhooks.waiting("we_a")
    (first,) = await pull(webhooks)
    assert list(await pull(webhooks, 29)) == []
    (again,) = await pull(webhooks, 30)
    assert (again.delivery.id, again.delivery.tried) == (first.delivery.id, 1)
    assert list(await webhooks.pulled.acknowledge("default", "we_a", leases(first), in_s(31))) == []
    assert list(await webhooks.pulled.renew("default", "we_a", leases(first), in_s(31), 30)) == []
    assert list(await webhooks.pulled.acknowledge("default", "we_a", leases(again), in_s(31))) == [again.delivery.id]


async def test_who_needs_longer_renews_its_lease(webhooks: Webhooks) -> None:
    await webhooks.added(url=None)
    await webhooks.waiting("we_a")
    (claim,) = await pull(webhooks)
    assert list(await webhooks.pulled.renew("default", "we_a", leases(claim), in_s(20), 60)) == [claim.delivery.id]
    assert list(await pull(webhooks, 79)) == []
    assert ids(await pull(webhooks, 80)) == [claim.delivery.id]


async def test_an_endpoint_that_is_not_ours_or_is_sent_to_gives_nothing(webhooks: Webhooks) -> None:
    await webhooks.added(url=None)
    await webhooks.added("we_b")
    await webhooks.waiting("we_a", "we_b")
    (claim,) = await pull(webhooks)
    for tenant, endpoint_id in (("acme", "we_a"), ("default", "we_b"), ("default", "we_none"), ("default", "\0")):
        found = await webhooks.pulled.pull(tenant, endpoint_id, in_s(60), limit=10, lease_s=30)
        assert list(found) == []
        for leased in (leases(claim), [("\0", "\ud800")]):
            assert list(await webhooks.pulled.acknowledge(tenant, endpoint_id, leased, NOW)) == []
            assert list(await webhooks.pulled.renew(tenant, endpoint_id, leased, NOW, 30)) == []


async def test_a_disabled_endpoint_holds_its_events_until_it_is_enabled(webhooks: Webhooks) -> None:
    await webhooks.added(url=None)
    await webhooks.endpoints.disable("default", "we_a", "by hand", NOW)
    await webhooks.waiting("we_a")
    assert list(await pull(webhooks, 10)) == []
    await webhooks.endpoints.enable("default", "we_a", Replay.MISSED, None, in_s(20))
    assert len(await pull(webhooks, 20)) == 1


async def test_an_ordered_endpoint_gets_the_next_of_a_subject_once_it_has_the_one_before(webhooks: Webhooks) -> None:
    await webhooks.added(url=None, ordered=True)
    done = delivery(subject="job_1", created_at=in_s(1))
    running = delivery(subject="job_1", created_at=in_s(2), revision=Revision.RUNNING, event_type=EventType.JOB_FAILED)
    await webhooks.write([done, running])
    (first,) = await pull(webhooks, 5)
    assert first.delivery.id == running.id
    assert list(await pull(webhooks, 6)) == []
    await webhooks.pulled.acknowledge("default", "we_a", leases(first), in_s(7))
    assert ids(await pull(webhooks, 7)) == [done.id]


async def test_that_a_job_runs_is_not_told_once_it_has_ended(webhooks: Webhooks, stores: Stores) -> None:
    await webhooks.added(url=None, event_types=())
    runs, is_over = await stores.inserted(), await stores.inserted()
    await stores.endings.mark_running([key_of(runs), key_of(is_over)], NOW)
    await stores.endings.finish([ended(is_over)])
    dropped, told = (
        delivery(subject=job.id, event_type=EventType.JOB_RUNNING, revision=Revision.RUNNING, created_at=in_s(at_s))
        for at_s, job in enumerate((is_over, runs))
    )
    await webhooks.write([dropped, told])
    assert ids(await pull(webhooks, 5, limit=1)) == [told.id]
    assert (await webhooks.found(dropped)).state is DeliveryState.DROPPED


async def test_a_test_is_pulled_also_while_all_else_is_held(webhooks: Webhooks) -> None:
    there = await webhooks.added(url=None)
    await webhooks.waiting("we_a")
    await webhooks.endpoints.disable("default", "we_a", "over", NOW)
    assert list(await pull(webhooks)) == []
    test = await webhooks.log.add_test(there, "job.succeeded", NOW)
    assert list(await webhooks.pulled.due(["we_a"], NOW)) == ["we_a"]
    assert ids(await pull(webhooks)) == [test.id]
    assert list(await webhooks.pulled.due(["we_a"], NOW)) == []


async def test_a_test_of_one_that_is_pulled_is_pulled(webhooks: Webhooks) -> None:
    there = await webhooks.added(url=None)
    test = await webhooks.log.add_test(there, "job.succeeded", NOW)
    (claim,) = await pull(webhooks)
    assert claim.delivery == test


async def test_what_was_sent_in_vain_is_pulled_at_once(webhooks: Webhooks) -> None:
    pushed = await webhooks.added(proven=True)
    for _ in range(FAILURES_OPEN):
        await webhooks.waiting("we_a")
    failed = (await webhooks.claim()).claims
    await webhooks.record(*failed, verdict=Verdict.FAILED)
    (standing,) = (await webhooks.endpoints.standing("default", ["we_a"])).values()
    assert standing.health.circuit is Circuit.DEGRADED

    pulled = msgspec.structs.replace(pushed, url=None, mode=Mode.PULL, updated_at=in_s(1))
    assert await webhooks.endpoints.replace(pulled, pushed.updated_at)

    (standing,) = (await webhooks.endpoints.standing("default", ["we_a"])).values()
    assert (standing.health.circuit, standing.health.failures, standing.health.reason) == (Circuit.ACTIVE, 0, None)
    assert (standing.pending, standing.held) == (FAILURES_OPEN, 0)
    claims = await pull(webhooks, 1)
    assert sorted(ids(claims)) == sorted(ids(failed))


async def test_what_is_disabled_stays_so_when_it_is_pulled_from_now_on(webhooks: Webhooks) -> None:
    pushed = await webhooks.added()
    await webhooks.waiting("we_a")
    await webhooks.record(*(await webhooks.claim()).claims, verdict=Verdict.FAILED)
    assert await webhooks.endpoints.disable("default", "we_a", "why", in_s(1))
    pulled = msgspec.structs.replace(pushed, url=None, mode=Mode.PULL, updated_at=in_s(2))
    assert await webhooks.endpoints.replace(pulled, pushed.updated_at)
    (standing,) = (await webhooks.endpoints.standing("default", ["we_a"])).values()
    assert (standing.health.circuit, standing.health.reason, standing.held) == (Circuit.DISABLED, "why", 1)
    assert list(await pull(webhooks, 2)) == []


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.GONE, Verdict.OURS])
async def test_what_fails_while_its_receiver_has_begun_to_pull_is_pulled_at_once(
    webhooks: Webhooks, verdict: Verdict
) -> None:
    pushed = await webhooks.added()
    await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    pulled = msgspec.structs.replace(pushed, url=None, mode=Mode.PULL, updated_at=in_s(1))
    assert await webhooks.endpoints.replace(pulled, pushed.updated_at)
    await webhooks.record(claim, verdict=verdict, after_s=2)
    assert ids(await pull(webhooks, 2)) == [claim.delivery.id]


async def test_what_waits_to_be_tried_again_once_is_pulled_at_once_although_nothing_failed_since(
    webhooks: Webhooks,
) -> None:
    pushed = await webhooks.added(proven=True)
    (later,) = await webhooks.waiting("we_a", due_at=in_s(3600), attempts=3)
    pulled = msgspec.structs.replace(pushed, url=None, mode=Mode.PULL, updated_at=in_s(1))
    assert await webhooks.endpoints.replace(pulled, pushed.updated_at)
    assert ids(await pull(webhooks, 1)) == [later.id]


async def test_an_attempt_still_under_way_says_nothing_of_who_pulls_by_now(webhooks: Webhooks) -> None:
    pushed = await webhooks.added()
    await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    pulled = msgspec.structs.replace(pushed, url=None, mode=Mode.PULL, updated_at=in_s(1))
    assert await webhooks.endpoints.replace(pulled, pushed.updated_at)
    assert await webhooks.record(claim, verdict=Verdict.GONE, after_s=2) == []
    (standing,) = (await webhooks.endpoints.standing("default", ["we_a"])).values()
    assert (standing.health.circuit, standing.health.failures) == (Circuit.ACTIVE, 0)
