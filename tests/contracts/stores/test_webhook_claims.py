"""Contract of `DeliveryQueue.claim`: what is due, within the limits of its target and its circuit."""

from typing import Any

import pytest
from msgspec.structs import replace

from schemas.jobs import Status
from schemas.webhook_targets import origin_target
from schemas.webhooks import (
    DeliveryState,
    EventType,
    Limits,
    Replay,
    Revision,
)
from stores.webhooks import Verdict
from tests.contracts.stores.building import Stores, ended, key_of
from tests.contracts.stores.webhook_stores import Webhooks, ids, in_s
from tests.webhooks import NOW, SEALED, asked_for, delivery, endpoint

RUNNING: dict[str, Any] = {"event_type": EventType.JOB_RUNNING, "revision": Revision.RUNNING}


async def degraded(webhooks: Webhooks, endpoint_id: str = "we_a", **fields: Any) -> None:
    """An endpoint whose circuit opened now, and none of its deliveries."""
    await webhooks.added(endpoint_id, **fields)
    for _ in range(6):
        await webhooks.waiting(endpoint_id, event_type=EventType.JOB_FAILED)
        (claim,) = (await webhooks.claim()).claims
        await webhooks.record(claim, verdict=Verdict.FAILED)


async def test_what_is_due_is_claimed_once_with_all_that_its_sender_needs(webhooks: Webhooks) -> None:
    there = await webhooks.added()
    (due,) = await webhooks.waiting("we_a", facts={"model": "digits"})
    (claim,) = (await webhooks.claim()).claims
    assert (claim.delivery, claim.endpoint, claim.secrets, claim.probe) == (due, there, SEALED, False)
    assert claim.leased_until == in_s(30)
    assert list((await webhooks.claim()).claims) == []
    assert (await webhooks.claim()).next_due_at == in_s(30)
    assert (await webhooks.found(due)).due_at == in_s(30)


async def test_a_lease_is_as_long_as_an_attempt_may_take_and_a_quarter_of_a_minute(webhooks: Webhooks) -> None:
    limits = {"we_a": Limits(timeout_s=3.5), "we_b": Limits(timeout_s=30.0)}
    for there in [await webhooks.added(name, proven=True, limits=limits[name]) for name in limits]:
        await webhooks.waiting(there.id)
        await webhooks.log.add_test(there, "webhook_endpoint.test", NOW)
    claims = (await webhooks.claim()).claims
    until = sorted((claim.delivery.target, claim.leased_until) for claim in claims)
    assert until == [("we_a", in_s(18.5))] * 2 + [("we_b", in_s(45))] * 2
    found = {(await webhooks.found(claim.delivery)).due_at for claim in claims}
    assert found == {in_s(18.5), in_s(45)}


async def test_a_claim_says_whether_its_target_answered_well_the_last_time(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.waiting(*["we_a"] * 4)
    seen = []
    for verdict in (Verdict.DELIVERED, Verdict.FAILED, Verdict.DELIVERED, Verdict.DELIVERED):
        (claim,) = (await webhooks.claim(limit=1)).claims
        seen.append(claim.well)
        await webhooks.record(claim, verdict=verdict)
    assert seen == [False, True, False, True]


async def test_nothing_is_claimed_before_it_is_due_and_it_is_told_when_that_will_be(webhooks: Webhooks) -> None:
    await webhooks.added()
    assert (await webhooks.claim()).next_due_at is None
    (later,) = await webhooks.waiting("we_a", due_at=in_s(5))
    claims = await webhooks.claim(4)
    assert (list(claims.claims), claims.next_due_at) == ([], in_s(5))
    assert ids((await webhooks.claim(5)).claims) == [later.id]


async def test_a_job_s_own_webhook_is_claimed_with_its_tenant_s_secrets(webhooks: Webhooks) -> None:
    url = "https://example.com/jobs/1"
    target = origin_target("default", url)
    await webhooks.endpoints.set_default_secrets("default", SEALED, ())
    (due,) = await webhooks.waiting(target, url=url)
    (claim,) = (await webhooks.claim()).claims
    assert (claim.delivery, claim.endpoint, claim.secrets) == (due, None, SEALED)


async def test_one_without_secrets_is_claimed_all_the_same(webhooks: Webhooks) -> None:
    await webhooks.waiting("origin_1", url="https://example.com")
    (claim,) = (await webhooks.claim()).claims
    assert claim.secrets == ()


async def test_the_oldest_of_a_target_come_first(webhooks: Webhooks) -> None:
    await webhooks.added(proven=True)
    second, first, third = [delivery(created_at=in_s(after_s)) for after_s in (-10, -20, -5)]
    await webhooks.write([second, first, third])
    assert ids((await webhooks.claim(each=2)).claims) == [first.id, second.id]
    assert ids((await webhooks.claim(each=2)).claims) == [third.id]


async def test_targets_that_are_passed_over_keep_what_waits_there(webhooks: Webhooks) -> None:
    for name in ("we_a", "we_b"):
        await webhooks.added(name)
        await webhooks.waiting(name)
    claimed = await webhooks.queue.claim(in_s(0), limit=10, each=10, passing=["we_a"])
    assert [claim.delivery.target for claim in claimed.claims] == ["we_b"]
    assert [claim.delivery.target for claim in (await webhooks.claim()).claims] == ["we_a"]


async def test_where_only_those_that_answered_well_are_asked_for_the_others_keep_what_waits_there(
    webhooks: Webhooks,
) -> None:
    await webhooks.added("we_new")
    for name in ("we_well", "we_failing"):
        await webhooks.added(name, proven=True)
    await webhooks.waiting("we_failing")
    await webhooks.record(*(await webhooks.claim()).claims, verdict=Verdict.FAILED)
    await webhooks.waiting("we_new", "we_failing", "we_well")
    claimed = await webhooks.queue.claim(in_s(1), limit=10, each=10, only_well=True)
    assert [claim.delivery.target for claim in claimed.claims] == ["we_well"]
    assert claimed.next_due_at is not None
    assert claimed.next_due_at <= in_s(1)
    rest = (await webhooks.claim(1)).claims
    assert sorted(claim.delivery.target for claim in rest) == ["we_failing", "we_new"]


async def test_of_tenants_that_crowd_only_those_are_claimed_that_answered_well(webhooks: Webhooks) -> None:
    await webhooks.added("we_well", tenant="many")
    await webhooks.waiting("we_well", tenant="many")
    await webhooks.record(*(await webhooks.claim()).claims)
    await webhooks.added("we_new", tenant="many")
    await webhooks.added("we_other")
    for name in ("we_new", "we_well"):
        await webhooks.waiting(name, tenant="many", created_at=in_s(-60))
    await webhooks.waiting("we_other")
    claimed = await webhooks.queue.claim(in_s(1), limit=10, each=10, crowding=["many"])
    assert sorted(claim.delivery.target for claim in claimed.claims) == ["we_other", "we_well"]
    assert claimed.next_due_at is not None
    assert claimed.next_due_at <= in_s(1)
    assert [claim.delivery.target for claim in (await webhooks.claim(1)).claims] == ["we_new"]


async def test_each_target_has_its_first_before_any_has_its_second(webhooks: Webhooks) -> None:
    for name in ("we_a", "we_b", "we_c"):
        await webhooks.added(name, proven=True)
    await webhooks.waiting(*["we_a"] * 10, created_at=in_s(-60))
    await webhooks.waiting("we_b", "we_c")
    claims = await webhooks.claim(limit=4)
    assert sorted(claim.delivery.target for claim in claims.claims) == ["we_a", "we_a", "we_b", "we_c"]
    assert claims.next_due_at is not None
    assert claims.next_due_at <= NOW


async def test_who_has_many_waiting_goes_behind_those_whose_turn_it_is(webhooks: Webhooks) -> None:
    for name in ("we_a", "we_b"):
        await webhooks.added(name, proven=True)
    await webhooks.waiting(*["we_a"] * 10, created_at=in_s(-60))
    await webhooks.claim(limit=1)
    await webhooks.waiting("we_b", created_at=in_s(-1))
    (claim,) = (await webhooks.claim(limit=1)).claims
    assert claim.delivery.target == "we_b"


async def test_no_more_of_a_target_are_in_flight_than_it_takes_and_its_places_come_back(webhooks: Webhooks) -> None:
    await webhooks.added(limits=Limits(concurrency=2), proven=True)
    await webhooks.waiting(*["we_a"] * 5)
    first, second = (await webhooks.claim()).claims
    claims = await webhooks.claim(1)
    assert (list(claims.claims), claims.next_due_at) == ([], in_s(30))
    await webhooks.record(first, after_s=2)
    (third,) = (await webhooks.claim(3)).claims
    await webhooks.record(second, third, after_s=4)
    assert len((await webhooks.claim(5)).claims) == 2


async def test_a_target_that_has_never_answered_has_one_place(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.waiting(*["we_a"] * 5)
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim)
    assert len((await webhooks.claim()).claims) == 4


async def test_what_a_killed_notifier_had_is_due_again_when_its_lease_is_over(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.waiting("we_a")
    (lost,) = (await webhooks.claim()).claims
    assert list((await webhooks.claim(29)).claims) == []
    (again,) = (await webhooks.claim(30)).claims
    assert (again.delivery.id, again.delivery.attempts) == (lost.delivery.id, 0)
    assert again.lease != lost.lease


async def test_no_more_begin_in_a_second_than_the_rate_allows(webhooks: Webhooks) -> None:
    await webhooks.added(limits=Limits(concurrency=100, max_per_second=2), proven=True)
    await webhooks.waiting(*["we_a"] * 10)
    begun = []
    for tenths in range(31):
        claims = await webhooks.claim(10 + tenths / 10)
        begun.append(len(claims.claims))
        await webhooks.record(*claims.claims, after_s=10 + tenths / 10)
    assert 6 <= sum(begun) <= 2 + 2 * 3
    assert max(begun) == 2


async def test_a_slow_rate_is_waited_for(webhooks: Webhooks) -> None:
    await webhooks.added(limits=Limits(max_per_second=0.1))
    await webhooks.waiting("we_a", "we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim)
    claims = await webhooks.claim(0.1)
    assert list(claims.claims) == []
    assert claims.next_due_at is not None
    assert 9.9 <= (claims.next_due_at - NOW).total_seconds() <= 10.2
    assert len((await webhooks.claim(10.2)).claims) == 1


async def test_a_rate_that_no_door_lets_in_ends_no_claim(webhooks: Webhooks) -> None:
    for name, rate in (("we_a", 1e-300), ("we_b", 1e300)):
        await webhooks.added(name, limits=Limits(max_per_second=rate))
        await webhooks.waiting(name, name)
    claims = (await webhooks.claim()).claims
    assert sorted(claim.delivery.target for claim in claims) == ["we_a", "we_b"]
    await webhooks.record(*claims)
    assert len((await webhooks.claim(101)).claims) == 2


async def test_a_degraded_target_is_probed_with_one_at_a_time(webhooks: Webhooks) -> None:
    await degraded(webhooks)
    fresh = await webhooks.waiting("we_a", "we_a", created_at=in_s(10))
    claims = await webhooks.claim(29)
    assert (list(claims.claims), claims.next_due_at) == ([], in_s(30))
    (probe,) = (await webhooks.claim(30)).claims
    assert probe.probe
    assert probe.delivery.id in ids(fresh)  # the others were tried before
    assert list((await webhooks.claim(31)).claims) == []
    await webhooks.record(probe, verdict=Verdict.FAILED, after_s=31)
    assert (await webhooks.claim(32)).next_due_at == in_s(31 + 60)
    (second,) = (await webhooks.claim(91)).claims
    assert second.delivery.id in ids(fresh)
    assert second.delivery.id != probe.delivery.id


async def test_a_probe_is_tried_although_its_delivery_would_wait_for_hours(webhooks: Webhooks) -> None:
    await degraded(webhooks)
    assert len((await webhooks.claim(30)).claims) == 1


async def test_a_probe_that_was_lost_is_made_again(webhooks: Webhooks) -> None:
    await degraded(webhooks)
    assert len((await webhooks.claim(30)).claims) == 1
    assert (await webhooks.claim(31)).next_due_at == in_s(60)
    (again,) = (await webhooks.claim(60)).claims
    assert again.probe


async def test_one_good_probe_lets_all_that_was_held_through_oldest_first(webhooks: Webhooks) -> None:
    await degraded(webhooks)
    held = [delivery(created_at=in_s(after_s)) for after_s in range(10, 20)]
    await webhooks.write(held)
    (probe,) = (await webhooks.claim(30)).claims
    changes = await webhooks.record(probe, after_s=31)
    assert [change.event_type for change in changes] == [EventType.ENDPOINT_RECOVERED]
    claimed = [claim for claim in (await webhooks.claim(31)).claims if claim.delivery.id in ids(held)]
    left = [each.id for each in held if each.id != probe.delivery.id]
    assert ids(claimed) == left[: len(claimed)]
    assert not any(claim.probe for claim in claimed)


async def test_nothing_is_sent_to_a_disabled_endpoint_until_it_is_enabled(webhooks: Webhooks) -> None:
    await webhooks.added()
    await webhooks.endpoints.disable("default", "we_a", "by hand", NOW)
    (held,) = await webhooks.waiting("we_a")
    claims = await webhooks.claim(10**6)
    assert (list(claims.claims), claims.next_due_at) == ([], None)
    await webhooks.endpoints.enable("default", "we_a", Replay.MISSED, None, in_s(10**6))
    assert ids((await webhooks.claim(10**6)).claims) == [held.id]


@pytest.mark.parametrize("state", ["active", "degraded", "disabled"])
async def test_a_test_is_sent_whatever_the_circuit_and_beside_the_limits(webhooks: Webhooks, state: str) -> None:
    if state == "degraded":
        await degraded(webhooks, limits=Limits(concurrency=1))
    else:
        await webhooks.added(limits=Limits(concurrency=1))
        await webhooks.waiting("we_a")
        await webhooks.claim()
    if state == "disabled":
        await webhooks.endpoints.disable("default", "we_a", "by hand", NOW)
    there = await webhooks.endpoints.get("default", "we_a")
    assert there is not None
    test = await webhooks.log.add_test(there, "job.succeeded", in_s(1))
    (claim,) = (await webhooks.claim(1)).claims
    assert (claim.delivery, claim.endpoint, claim.secrets, claim.probe) == (test, there, SEALED, False)
    assert (test.is_test, test.event_type, test.subject) == (True, "job.succeeded", "we_a")
    await webhooks.record(claim, verdict=Verdict.FAILED, after_s=2)
    assert (await webhooks.found(test)).state is DeliveryState.FAILED


async def test_of_an_endpoint_one_test_is_on_its_way_at_a_time(webhooks: Webhooks) -> None:
    await webhooks.added("we_a")
    await webhooks.added("we_b")
    await webhooks.write([asked_for("we_a") for _ in range(5)] + [asked_for("we_b")])
    claims = (await webhooks.claim(limit=4)).claims
    assert sorted(claim.delivery.target for claim in claims) == ["we_a", "we_b"]
    assert list((await webhooks.claim(1, limit=4)).claims) == []
    await webhooks.record(*claims, verdict=Verdict.FAILED, after_s=2)
    (second,) = (await webhooks.claim(2, limit=4)).claims
    assert second.delivery.target == "we_a"
    (after_its_lease,) = (await webhooks.claim(70, limit=4)).claims
    assert after_its_lease.delivery.target == "we_a"


async def test_an_ordered_endpoint_has_one_of_a_subject_on_its_way_and_others_beside_it(webhooks: Webhooks) -> None:
    await webhooks.added(ordered=True, proven=True)
    running = delivery(subject="job_1", event_type=EventType.JOB_FAILED, revision=Revision.RUNNING)
    done = delivery(subject="job_1", created_at=in_s(-5))
    other = delivery(subject="job_2", created_at=in_s(5))
    await webhooks.write([running, done, other])
    claims = await webhooks.claim(10)
    assert sorted(ids(claims.claims)) == sorted([running.id, other.id])
    assert claims.next_due_at == in_s(40)
    (first,) = [claim for claim in claims.claims if claim.delivery.id == running.id]
    await webhooks.record(first, verdict=Verdict.FAILED, after_s=11)
    assert list((await webhooks.claim(12)).claims) == []  # the earlier one waits to be tried again
    (again,) = (await webhooks.claim(16)).claims
    await webhooks.record(again, after_s=17)
    assert ids((await webhooks.claim(17)).claims) == [done.id]


async def test_a_probe_of_an_ordered_endpoint_is_the_first_of_its_subject(webhooks: Webhooks) -> None:
    await degraded(webhooks, ordered=True)
    first = delivery(subject="job_1", event_type=EventType.JOB_FAILED, revision=Revision.RUNNING, tried=5)
    second = delivery(subject="job_1", tried=0)
    await webhooks.write([first, second])
    tried = set()
    for number in range(8):
        (probe,) = (await webhooks.claim(10_000 * (number + 1))).claims
        tried.add(probe.delivery.id)
        await webhooks.record(probe, verdict=Verdict.FAILED, after_s=10_000 * (number + 1))
    assert second.id not in tried


async def test_another_endpoint_of_the_same_subject_does_not_hold_an_ordered_one_up(webhooks: Webhooks) -> None:
    await webhooks.added("we_a", ordered=True)
    await webhooks.added("we_b", ordered=True)
    await webhooks.waiting("we_a", "we_b", subject="job_1")
    assert len((await webhooks.claim()).claims) == 2


async def test_that_a_job_runs_is_not_told_once_it_has_ended(webhooks: Webhooks, stores: Stores) -> None:
    await webhooks.added(proven=True, event_types=())
    runs, is_over = await stores.inserted(), await stores.inserted()
    await stores.endings.mark_running([key_of(runs), key_of(is_over)], NOW)
    await stores.endings.finish([ended(is_over)])
    told = delivery(subject=runs.id, **RUNNING)
    dropped = delivery(subject=is_over.id, **RUNNING)
    gone = delivery(subject="job_gone", **RUNNING)
    await webhooks.write([told, dropped, gone])
    assert (await stores.found(is_over)).status is Status.SUCCEEDED
    assert ids((await webhooks.claim()).claims) == [told.id]
    for each in (dropped, gone):
        assert replace(await webhooks.found(each), facts={}) == replace(
            each, state=DeliveryState.DROPPED, ended_at=NOW, facts={}
        )


async def test_a_degraded_target_whose_oldest_has_ended_is_probed_with_another(webhooks: Webhooks) -> None:
    await degraded(webhooks)
    await webhooks.write([delivery(subject="job_gone", **RUNNING)])
    claims = await webhooks.claim(30)
    if not claims.claims:  # what it found was dropped
        assert claims.next_due_at is not None
        assert claims.next_due_at <= in_s(30)
        claims = await webhooks.claim(30)
    (probe,) = claims.claims
    assert probe.delivery.event_type != EventType.JOB_RUNNING


async def test_what_waits_for_an_endpoint_that_is_gone_is_dropped(webhooks: Webhooks) -> None:
    (late,) = await webhooks.waiting("we_gone")
    claims = await webhooks.claim()
    assert (list(claims.claims), claims.next_due_at) == ([], None)
    assert (await webhooks.found(late)).state is DeliveryState.DROPPED


async def test_what_is_pulled_is_not_sent(webhooks: Webhooks) -> None:
    there = await webhooks.added(url=None)
    await webhooks.waiting("we_a")
    await webhooks.log.add_test(there, "webhook_endpoint.test", NOW)
    claims = await webhooks.claim()
    assert (list(claims.claims), claims.next_due_at) == ([], None)


async def test_no_more_is_claimed_than_is_asked_for(webhooks: Webhooks) -> None:
    await webhooks.added(proven=True)
    await webhooks.waiting(*["we_a"] * 5)
    await webhooks.write([asked_for("we_a")])
    assert list((await webhooks.claim(limit=0)).claims) == []
    assert len((await webhooks.claim(limit=3)).claims) == 3
    assert len((await webhooks.claim(limit=3)).claims) == 3
    assert list((await webhooks.claim()).claims) == []


async def test_ten_thousand_of_those_that_hang_take_nothing_from_those_that_answer(webhooks: Webhooks) -> None:
    dead, healthy = [f"we_dead_{number}" for number in range(50)], [f"we_{number}" for number in range(10)]
    for name in healthy + dead:
        await webhooks.endpoints.add(endpoint(name, tenant=name))
    await webhooks.write([delivery(name, tenant=name, created_at=in_s(-60)) for name in dead for _ in range(20)])
    assert len((await webhooks.claim(limit=1000)).claims) == len(dead)
    # What comes meanwhile has them looked at again, each before its turn.
    await webhooks.write([delivery(name, tenant=name, created_at=in_s(-50)) for name in dead])
    await webhooks.write([delivery(name, tenant=name) for name in healthy])
    claims = await webhooks.claim(1, limit=10, each=4)
    assert sorted(claim.delivery.target for claim in claims.claims) == sorted(healthy)
