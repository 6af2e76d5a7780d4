"""Contract of `Endpoints`: what tenants registered, how it stands, and its secrets."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.errors import Conflict, InvalidInput, WebhookEndpointNotFound
from schemas.webhooks import (
    Circuit,
    Delivery,
    DeliveryState,
    Endpoint,
    EventType,
    Limits,
    PayloadKind,
    Replay,
    Sealed,
)
from stores.postgres.webhooks.switching import STEP
from stores.sealing import DEFAULT_OWNER, KeyRing
from stores.webhooks import MOST_ENDPOINTS, Claim, DeliveryFilter, DeliveryLog, DeliveryQueue, Endpoints, Verdict
from tests.contracts.stores.building import LATER, NOW, Clock, Stores, ended, key_of
from tests.contracts.stores.webhook_stores import Webhooks
from tests.waiting import eventually
from tests.webhooks import endpoint, outcome

HOUR = timedelta(hours=1)
EACH = DeliveryFilter()
ALL_ENDS = (EventType.JOB_SUCCEEDED, EventType.JOB_FAILED, EventType.JOB_CANCELED)


def changed(before: Endpoint, **fields: Any) -> Endpoint:
    return msgspec.structs.replace(before, **fields)


async def test_an_endpoint_is_read_as_it_was_added(endpoints: Endpoints) -> None:
    whole = endpoint(
        "we_a",
        name="where é",
        url="https://example.com:8443/hook?a=b",
        event_types=(EventType.JOB_RUNNING, EventType.ENDPOINT_FAILING),
        payload=PayloadKind.THIN,
        ordered=True,
        limits=Limits(concurrency=3, max_per_second=0.5, timeout_s=7.5, connect_timeout_s=1.0),
        secrets=(Sealed("k2", bytes(range(256))), Sealed("k1", b"", LATER)),
        updated_at=LATER,
    )
    pulled = endpoint("we_b", url=None)
    for each in (whole, pulled):
        await endpoints.add(each)
    assert await endpoints.get("default", "we_a") == whole
    assert await endpoints.get("default", "we_b") == pulled


async def test_what_is_not_there_is_not_found(endpoints: Endpoints) -> None:
    await endpoints.add(endpoint("we_a"))
    for tenant, name in (("another", "we_a"), ("default", "we_c"), ("default", "\0"), ("\0", "we_a")):
        assert await endpoints.get(tenant, name) is None
        assert not await endpoints.remove(tenant, name)
        assert not await endpoints.disable(tenant, name, "why", NOW)
        assert await endpoints.standing(tenant, [name]) == {}
        with pytest.raises(WebhookEndpointNotFound, match="there is no webhook endpoint"):
            await endpoints.enable(tenant, name, Replay.MISSED, None, NOW)
    assert not await endpoints.replace(endpoint("we_a", tenant="another"), NOW)
    assert await endpoints.get("default", "we_a") == endpoint("we_a")


async def test_what_no_store_can_hold_is_refused(endpoints: Endpoints) -> None:
    with pytest.raises(InvalidInput):
        await endpoints.add(endpoint("we_a", name="a\0b"))
    assert await endpoints.get("default", "we_a") is None


async def test_endpoints_are_listed_page_by_page_the_newest_first(endpoints: Endpoints) -> None:
    for number, name in enumerate(("we_a", "we_b", "we_c", "we_d")):
        await endpoints.add(endpoint(name, created_at=NOW + number // 2 * HOUR))
    await endpoints.add(endpoint("we_e", tenant="another"))
    first = await endpoints.list("default", after=None, limit=3)
    assert [each.id for each in first] == ["we_d", "we_c", "we_b"]
    assert [each.id for each in await endpoints.list("default", after="we_b", limit=3)] == ["we_a"]
    assert await endpoints.list("default", after="we_a", limit=3) == []
    assert await endpoints.list("a\0b", after=None, limit=3) == []
    assert await endpoints.list("default", after="a\0b", limit=3) == []


async def test_whoever_deletes_page_by_page_meets_them_all(endpoints: Endpoints) -> None:
    for name in ("we_a", "we_b", "we_c"):
        await endpoints.add(endpoint(name))
    await endpoints.add(endpoint("we_bb", tenant="another"))
    met, after = [], None
    while page := await endpoints.list("default", after=after, limit=1):
        after = page[0].id
        met.append(after)
        assert await endpoints.remove("default", after)
    assert met == ["we_c", "we_b", "we_a"]


async def test_a_tenant_has_so_many_endpoints_at_most_also_when_they_come_at_once(endpoints: Endpoints) -> None:
    for number in range(MOST_ENDPOINTS - 2):
        await endpoints.add(endpoint(f"we_{number}"))
    added = await asyncio.gather(
        *(endpoints.add(endpoint(f"we_late_{number}")) for number in range(4)), return_exceptions=True
    )
    assert [type(each) for each in added if each is not None] == [Conflict, Conflict]
    await endpoints.add(endpoint("we_other", tenant="another"))
    assert len(await endpoints.list("default", after=None, limit=1000)) == MOST_ENDPOINTS


async def test_an_endpoint_is_changed_by_who_knows_how_it_is(endpoints: Endpoints) -> None:
    before = endpoint("we_a")
    await endpoints.add(before)
    after = endpoint("we_a", name="other", url=None, event_types=(), updated_at=LATER, limits=Limits(concurrency=1))
    assert await endpoints.replace(after, before.updated_at)
    assert not await endpoints.replace(changed(before, name="late", updated_at=LATER + HOUR), before.updated_at)
    assert await endpoints.get("default", "we_a") == after


async def test_an_endpoint_that_has_changed_is_told_by_its_new_rules(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog
) -> None:
    await endpoints.add(endpoint("we_a", url=None))
    await stores.endings.finish([ended(await stores.inserted())])
    assert list((await queue.claim(NOW, limit=10, each=10)).claims) == []
    assert await endpoints.replace(endpoint("we_a", event_types=(EventType.JOB_FAILED,), updated_at=LATER), NOW)
    await stores.endings.finish([ended(await stores.inserted())])
    (claim,) = (await queue.claim(LATER, limit=10, each=10)).claims
    assert claim.endpoint == endpoint("we_a", event_types=(EventType.JOB_FAILED,), updated_at=LATER)


async def test_with_an_endpoint_go_its_deliveries_that_wait(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    for name in ("we_a", "we_b"):
        await endpoints.add(endpoint(name))
    await stores.endings.finish([ended(await stores.inserted()) for _ in range(3)])
    (claim,) = (await queue.claim(NOW, limit=1, each=1)).claims
    clock.forward(hours=1)

    assert await endpoints.remove("default", claim.delivery.target)

    assert await endpoints.get("default", claim.delivery.target) is None
    assert not await endpoints.remove("default", claim.delivery.target)
    states = [(each.target, each.state, each.ended_at) for each in await listed(log)]
    other = "we_b" if claim.delivery.target == "we_a" else "we_a"
    assert sorted(states) == sorted(
        [(claim.delivery.target, DeliveryState.DROPPED, NOW + HOUR)] * 3 + [(other, DeliveryState.PENDING, None)] * 3
    )
    await queue.record([outcome(claim)], NOW + HOUR)
    stored = await log.get("default", claim.delivery.id)
    assert stored is not None
    assert stored.state is DeliveryState.DROPPED
    await stores.endings.finish([ended(await stores.inserted())])
    assert len(await listed(log)) == 7


async def test_an_endpoint_stands_active_with_what_waits(endpoints: Endpoints, stores: Stores, clock: Clock) -> None:
    for name in ("we_a", "we_b", "we_c"):
        await endpoints.add(endpoint(name, event_types=(EventType.JOB_FAILED,) if name == "we_c" else ALL_ENDS))
    for _ in range(2):
        await stores.endings.finish([ended(await stores.inserted())])
        clock.forward(hours=1)
    standing = await endpoints.standing("default", ["we_a", "we_c", "we_x"])
    assert standing.keys() == {"we_a", "we_c"}
    assert (standing["we_a"].pending, standing["we_a"].held, standing["we_a"].oldest_pending_at) == (2, 0, NOW)
    assert (standing["we_c"].pending, standing["we_c"].oldest_pending_at) == (0, None)
    assert (standing["we_a"].health.circuit, standing["we_a"].health.since) == (Circuit.ACTIVE, NOW)


async def listed(log: DeliveryLog) -> list[Delivery]:
    """The oldest first."""
    return list(reversed((await log.list("default", EACH, after=None, limit=1000)).deliveries))


async def held(endpoints: Endpoints, stores: Stores, clock: Clock) -> None:
    """An endpoint that was disabled at `NOW`, and three deliveries of it, an hour apart."""
    await endpoints.add(endpoint("we_a"))
    assert await endpoints.disable("default", "we_a", "enough", NOW)
    for _ in range(3):
        await stores.endings.finish([ended(await stores.inserted())])
        clock.forward(hours=1)
        await eventually(next_millisecond())


def next_millisecond() -> Callable[[], bool]:
    """Whether it has begun: ids of deliveries sort by the millisecond, which a clock of a test does not move."""
    now = time.time_ns() // 1_000_000
    return lambda: time.time_ns() // 1_000_000 > now


async def test_of_a_disabled_endpoint_all_is_held(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, clock: Clock
) -> None:
    await held(endpoints, stores, clock)
    standing = (await endpoints.standing("default", ["we_a"]))["we_a"]
    assert (standing.health.circuit, standing.health.reason, standing.health.since) == (Circuit.DISABLED, "enough", NOW)
    assert (standing.pending, standing.held, standing.oldest_pending_at) == (3, 3, NOW)
    assert list((await queue.claim(clock.now, limit=10, each=10)).claims) == []


async def enabled(
    endpoints: Endpoints, queue: DeliveryQueue, log: DeliveryLog, clock: Clock, replay: Replay, since: Any = None
) -> tuple[int, list[int], list[int]]:
    """What it returned, the hours of those that are sent then, in their order, and of those that were dropped."""
    count = await endpoints.enable("default", "we_a", replay, since, clock.now)
    health = (await endpoints.standing("default", ["we_a"]))["we_a"].health
    assert (health.circuit, health.failures, health.reason, health.since) == (Circuit.ACTIVE, 0, None, clock.now)
    sent = []
    while claims := (await queue.claim(clock.now, limit=10, each=10)).claims:
        sent += [hours(claim.delivery) for claim in claims]
        await queue.record([outcome(claim, at=clock.now) for claim in claims], clock.now)
    return count, sent, [hours(each) for each in await listed(log) if each.state is DeliveryState.DROPPED]


def hours(delivery: Delivery) -> int:
    return (delivery.created_at - NOW) // HOUR


async def test_enabled_without_a_replay_all_that_was_held_is_dropped(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await held(endpoints, stores, clock)
    assert await enabled(endpoints, queue, log, clock, Replay.NONE) == (0, [], [0, 1, 2])
    await stores.endings.finish([ended(await stores.inserted())])
    assert len((await queue.claim(clock.now, limit=10, each=10)).claims) == 1


async def test_enabled_with_what_was_missed_all_is_sent_the_oldest_first(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await held(endpoints, stores, clock)
    assert await enabled(endpoints, queue, log, clock, Replay.MISSED) == (3, [0, 1, 2], [])


async def test_enabled_with_all_since_a_time_the_others_are_dropped(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await held(endpoints, stores, clock)
    assert await enabled(endpoints, queue, log, clock, Replay.SINCE, NOW + HOUR) == (2, [1, 2], [0])


async def test_what_was_dropped_comes_back_with_all_since_a_time(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await held(endpoints, stores, clock)
    assert await enabled(endpoints, queue, log, clock, Replay.NONE) == (0, [], [0, 1, 2])
    clock.forward(hours=1)
    assert await enabled(endpoints, queue, log, clock, Replay.SINCE, NOW + HOUR) == (2, [1, 2], [0])


async def test_that_a_job_ran_once_is_never_told_again(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await endpoints.add(endpoint("we_a", event_types=(EventType.JOB_RUNNING,)))
    await endpoints.disable("default", "we_a", "enough", NOW)
    job = await stores.inserted()
    await stores.endings.mark_running([key_of(job)], NOW)
    assert await enabled(endpoints, queue, log, clock, Replay.NONE) == (0, [], [0])
    assert await enabled(endpoints, queue, log, clock, Replay.SINCE, NOW) == (0, [], [0])


async def test_enabling_what_is_active_drops_nothing(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    await endpoints.add(endpoint("we_a"))
    await stores.endings.finish([ended(await stores.inserted())])
    clock.forward(hours=1)
    assert await enabled(endpoints, queue, log, clock, Replay.NONE) == (0, [0], [])


async def test_an_attempt_under_way_while_an_endpoint_is_enabled_is_not_dropped(
    endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, log: DeliveryLog, clock: Clock
) -> None:
    claims = await degraded(endpoints, stores, queue, clock)
    assert await endpoints.enable("default", "we_a", Replay.NONE, None, clock.now) == 0
    await queue.record([outcome(claim, at=clock.now) for claim in claims], clock.now)
    states = [each.state for each in await listed(log)]
    assert states.count(DeliveryState.DELIVERED) == len(claims) == 1
    assert DeliveryState.PENDING not in states


async def degraded(endpoints: Endpoints, stores: Stores, queue: DeliveryQueue, clock: Clock) -> list[Claim]:
    """An endpoint whose circuit is open, with its probe under way."""
    await endpoints.add(endpoint("we_a"))
    await stores.endings.finish([ended(await stores.inserted()) for _ in range(12)])
    for _ in range(40):
        claims = (await queue.claim(clock.now, limit=1, each=1)).claims
        if claims and claims[0].probe:
            return list(claims)
        await queue.record([outcome(claim, Verdict.FAILED, at=clock.now) for claim in claims], clock.now)
        clock.forward(seconds=5)
    raise AssertionError("it is still active")


async def test_default_secrets_are_written_by_who_knows_them(endpoints: Endpoints) -> None:
    first, second = (Sealed("k1", b"one"),), (Sealed("k2", b"two"), Sealed("k1", b"one", LATER))
    assert list(await endpoints.default_secrets("default")) == []
    assert await endpoints.set_default_secrets("default", first, ())
    assert not await endpoints.set_default_secrets("default", second, ())
    assert not await endpoints.set_default_secrets("default", second, second)
    assert tuple(await endpoints.default_secrets("default")) == first
    assert await endpoints.set_default_secrets("default", second, first)
    assert tuple(await endpoints.default_secrets("default")) == second
    assert list(await endpoints.default_secrets("another")) == []
    assert list(await endpoints.default_secrets("a\0b")) == []


async def test_of_two_who_make_the_first_default_secrets_one_does(endpoints: Endpoints) -> None:
    made = [(Sealed("k1", bytes([number])),) for number in range(4)]
    won = await asyncio.gather(*(endpoints.set_default_secrets("default", each, ()) for each in made))
    assert sorted(won) == [False, False, False, True]
    assert tuple(await endpoints.default_secrets("default")) == made[won.index(True)]


async def test_it_is_known_which_keys_have_sealed_how_much(endpoints: Endpoints) -> None:
    assert await endpoints.sealed_by() == {}
    await endpoints.add(endpoint("we_a", secrets=(Sealed("k2", b""), Sealed("k1", b"", LATER))))
    await endpoints.add(endpoint("we_b", secrets=(Sealed("k2", b""),), tenant="another"))
    await endpoints.set_default_secrets("default", (Sealed("k1", b""),), ())
    assert await endpoints.sealed_by() == {"k1": 2, "k2": 2}


async def test_all_secrets_are_sealed_anew_but_those_whose_key_is_missing(endpoints: Endpoints) -> None:
    key, other = os.urandom(32), os.urandom(32)
    old, ring = KeyRing({"old": key}), KeyRing({"new": other, "old": key})
    await endpoints.add(endpoint("we_a", secrets=(old.seal("a", "default", "we_a"),)))
    await endpoints.add(endpoint("we_b", secrets=(Sealed("lost", b"?"),)))
    await endpoints.add(endpoint("we_c", secrets=(ring.seal("c", "default", "we_c"),)))
    await endpoints.set_default_secrets("default", (old.seal("d", "default", DEFAULT_OWNER),), ())

    assert await endpoints.reseal(ring, NOW) == 2
    assert await endpoints.reseal(ring, NOW) == 0

    assert await endpoints.sealed_by() == {"new": 3, "lost": 1}
    for name, secret in (("we_a", "a"), ("we_c", "c")):
        stored = await endpoints.get("default", name)
        assert stored is not None
        assert ring.signing(stored.secrets, "default", name, NOW) == [secret]
        assert stored.updated_at == NOW
    secrets = await endpoints.default_secrets("default")
    assert KeyRing({"new": other}).signing(secrets, "default", DEFAULT_OWNER, NOW) == ["d"]


async def test_without_a_key_nothing_is_sealed_anew(endpoints: Endpoints) -> None:
    await endpoints.add(endpoint("we_a"))
    assert await endpoints.reseal(KeyRing({}), NOW) == 0


async def test_more_than_one_step_is_dropped_and_comes_back(webhooks: Webhooks, clock: Clock) -> None:
    await webhooks.added("we_a")
    await webhooks.endpoints.disable("default", "we_a", "enough", NOW)
    many = 2 * STEP + 1
    await webhooks.waiting(*["we_a"] * many)
    assert await webhooks.endpoints.enable("default", "we_a", Replay.NONE, None, NOW) == 0
    assert await webhooks.log.count("default", DeliveryFilter(state=DeliveryState.DROPPED)) == many
    assert await webhooks.endpoints.enable("default", "we_a", Replay.SINCE, NOW, clock.now) == many
    assert await webhooks.log.count("default", DeliveryFilter(state=DeliveryState.DROPPED)) == 0


async def test_more_than_one_step_that_waits_for_a_later_attempt_is_due_once_it_is_enabled(
    webhooks: Webhooks, clock: Clock
) -> None:
    await webhooks.added("we_a", proven=True, limits=Limits(concurrency=1000))
    many = 2 * STEP + 1
    await webhooks.waiting(*["we_a"] * many, due_at=NOW + HOUR)
    assert await webhooks.endpoints.enable("default", "we_a", Replay.MISSED, None, NOW) == many
    due = {each.due_at for each in (await webhooks.log.list("default", EACH, after=None, limit=many)).deliveries}
    assert due == {NOW}
