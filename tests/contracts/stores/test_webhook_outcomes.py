"""Contract of `DeliveryQueue.record`: what becomes of deliveries, of the health of their targets, and who is told."""

from datetime import timedelta

from msgspec.structs import replace

from schemas.webhooks import Circuit, DeliveryState, EventType, Health, Limits
from stores.webhooks import Change, DeliveryFilter, Verdict, Waiting
from tests.contracts.stores.webhook_stores import Webhooks, ids, in_s
from tests.webhooks import NOW, delivery, outcome

HEALTH_EVENTS = (
    EventType.ENDPOINT_FAILING,
    EventType.ENDPOINT_DEGRADED,
    EventType.ENDPOINT_RECOVERED,
    EventType.ENDPOINT_DISABLED,
)


async def health(webhooks: Webhooks, endpoint_id: str = "we_a") -> Health:
    return (await webhooks.endpoints.standing("default", [endpoint_id]))[endpoint_id].health


async def failing(
    webhooks: Webhooks, times: int, target: str = "we_a", verdict: Verdict = Verdict.FAILED
) -> list[Change]:
    changes: list[Change] = []
    for _ in range(times):
        await webhooks.waiting(target)
        (claim,) = (await webhooks.claim()).claims
        changes += await webhooks.record(claim, verdict=Verdict.FAILED)
    return changes


async def test_a_success_is_written_down_with_its_attempt_and_in_the_health(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    done = outcome(claim, Verdict.DELIVERED, in_s(1), head="thanks ☺")
    assert list(await webhooks.queue.record([done], in_s(2))) == []
    assert await webhooks.found(due) == replace(
        due, state=DeliveryState.DELIVERED, ended_at=in_s(2), attempts=1, tried=1, last_status=204
    )
    assert list(await webhooks.log.attempts(due.id, limit=5)) == [done.attempt]
    assert await health(webhooks) == Health(since=NOW, succeeded_at=in_s(2))


async def test_a_failure_is_due_again_and_its_attempts_are_listed_newest_first(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    made = []
    for at_s in (0, 5, 305):
        (claim,) = (await webhooks.claim(at_s)).claims
        made.append(outcome(claim, Verdict.FAILED, in_s(at_s), error="the answer was too long"))
        await webhooks.queue.record([made[-1]], in_s(at_s))
    found = await webhooks.found(due)
    assert (found.state, found.attempts, found.tried, found.due_at) == (DeliveryState.PENDING, 3, 3, in_s(2105))
    assert (found.last_status, found.last_error) == (500, "the answer was too long")
    assert list(await webhooks.log.attempts(due.id, limit=2)) == [made[2].attempt, made[1].attempt]
    assert [each.attempt.number for each in made] == [1, 2, 3]
    assert (await webhooks.claim(306)).next_due_at == in_s(2105)


async def test_what_a_hostile_endpoint_says_is_written_down_as_far_as_it_can_be(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.queue.record([outcome(claim, Verdict.FAILED, NOW, head="a\0b\udc00c", error="\ud800\0")], NOW)
    (attempt,) = await webhooks.log.attempts(due.id, limit=1)
    assert attempt.head is not None
    assert attempt.head.startswith("a")


async def test_only_who_has_the_lease_is_heard(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (late,) = (await webhooks.claim()).claims
    (now,) = (await webhooks.claim(60)).claims
    assert list(await webhooks.record(late, verdict=Verdict.GONE, after_s=61)) == []
    assert (await webhooks.found(due)).state is DeliveryState.PENDING
    assert (await health(webhooks)).circuit is Circuit.ACTIVE
    assert list(await webhooks.log.attempts(due.id, limit=5)) == []
    await webhooks.record(now, after_s=62)
    await webhooks.record(now, verdict=Verdict.FAILED, after_s=63)
    assert (await webhooks.found(due)).state is DeliveryState.DELIVERED
    assert len(await webhooks.log.attempts(due.id, limit=5)) == 1


async def test_a_lease_that_ran_out_is_good_until_another_takes_the_delivery(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim, after_s=70)
    assert (await webhooks.found(due)).state is DeliveryState.DELIVERED


async def test_what_ended_meanwhile_stays_as_it_is(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.endpoints.remove("default", "we_a")
    assert list(await webhooks.record(claim, verdict=Verdict.GONE)) == []
    assert (await webhooks.found(due)).state is DeliveryState.DROPPED
    assert list(await webhooks.queue.record([], NOW)) == []


async def test_what_was_not_the_endpoints_fault_is_no_attempt(webhooks: Webhooks) -> None:
    await webhooks.added()
    (due,) = await webhooks.waiting("we_a")
    (claim,) = (await webhooks.claim()).claims
    await webhooks.record(claim, verdict=Verdict.OURS)
    found = await webhooks.found(due)
    assert (found.attempts, found.tried, found.due_at, found.last_error) == (0, 0, in_s(5), "ours")
    assert list(await webhooks.log.attempts(due.id, limit=5)) == []
    assert (await health(webhooks)).failures == 0
    assert (await webhooks.claim(1)).next_due_at == in_s(5)


async def test_where_we_could_not_send_all_that_waits_rests_as_long_unless_more_comes(webhooks: Webhooks) -> None:
    await webhooks.added(proven=True)
    await webhooks.waiting(*["we_a"] * 3)
    (claim,) = (await webhooks.claim(limit=1)).claims
    await webhooks.record(claim, verdict=Verdict.OURS)
    claims = await webhooks.claim(1)
    assert (list(claims.claims), claims.next_due_at) == ([], in_s(5))
    await webhooks.waiting("we_a", created_at=in_s(2))
    assert len((await webhooks.claim(2)).claims) == 3
    await webhooks.waiting("we_a", created_at=in_s(2))
    assert len((await webhooks.claim(5)).claims) == 2


async def test_a_circuit_opens_after_six_failures_and_that_is_told_by_what_record_returns(webhooks: Webhooks) -> None:
    await webhooks.added()
    assert await failing(webhooks, 6) == [
        Change("default", "we_a", EventType.ENDPOINT_FAILING, "it answered 500"),
        Change("default", "we_a", EventType.ENDPOINT_DEGRADED, "it answered 500"),
    ]
    assert await health(webhooks) == Health(
        circuit=Circuit.DEGRADED,
        since=NOW,
        failures=6,
        failing_since=NOW,
        probe_at=in_s(30),
        reason="it answered 500",
        changes=2,
    )
    assert await webhooks.queue.counts() == {"active": 0, "degraded": 1, "disabled": 0}


async def test_what_waits_is_counted_by_circuit_whether_or_not_it_is_on_its_way(webhooks: Webhooks) -> None:
    none = {circuit: Waiting(0, None) for circuit in ("active", "degraded", "disabled")}
    assert await webhooks.queue.waiting() == none
    await webhooks.added()
    await failing(webhooks, 6)
    await webhooks.waiting("we_a", created_at=in_s(1))
    await webhooks.waiting("origin_1", "origin_2", url="https://example.com", created_at=in_s(5))
    before = (await webhooks.queue.waiting())["active"]
    assert before == Waiting(2, in_s(5))
    held = (await webhooks.queue.waiting())["degraded"]
    assert (held.deliveries > 1, held.oldest_at) == (True, NOW)
    own = [each for each in (await webhooks.claim(6)).claims if each.delivery.target.startswith("origin_")]
    assert (await webhooks.queue.waiting())["active"] == before
    await webhooks.record(*own)
    assert (await webhooks.queue.waiting())["active"] == Waiting(0, None)


async def test_many_that_come_back_together_are_judged_one_after_the_other(webhooks: Webhooks) -> None:
    await webhooks.added(limits=Limits(concurrency=10), proven=True)
    due = await webhooks.waiting(*["we_a"] * 10)
    claims = (await webhooks.claim()).claims
    outcomes = [
        outcome(claim, Verdict.DELIVERED if number == 8 else Verdict.FAILED, NOW) for number, claim in enumerate(claims)
    ]
    changes = await webhooks.queue.record(outcomes, NOW)
    assert [change.event_type for change in changes] == [
        EventType.ENDPOINT_FAILING,
        EventType.ENDPOINT_DEGRADED,
        EventType.ENDPOINT_RECOVERED,
    ]
    assert (await health(webhooks)).failures == 1
    states = [(await webhooks.found(each)).state for each in due]
    assert sorted(states).count(DeliveryState.DELIVERED) == 1


async def test_410_disables_the_endpoint_and_what_waits_for_it_is_held(webhooks: Webhooks) -> None:
    await webhooks.added()
    waiting = await webhooks.waiting("we_a", "we_a")
    (claim,) = (await webhooks.claim()).claims
    (change,) = await webhooks.record(claim, verdict=Verdict.GONE)
    assert change.event_type is EventType.ENDPOINT_DISABLED
    assert {(await webhooks.found(each)).state for each in waiting} == {DeliveryState.PENDING}
    assert (await webhooks.endpoints.standing("default", ["we_a"]))["we_a"].held == 2
    assert (await webhooks.claim(10**6)).next_due_at is None


async def test_410_of_a_jobs_own_url_ends_that_delivery_alone(webhooks: Webhooks) -> None:
    gone, other = await webhooks.waiting("origin_1", "origin_1", url="https://example.com/1")
    (claim,) = (await webhooks.claim()).claims
    assert list(await webhooks.record(claim, verdict=Verdict.GONE)) == []
    assert (await webhooks.found(claim.delivery)).state is DeliveryState.FAILED
    (next_one,) = (await webhooks.claim()).claims
    assert {claim.delivery.id, next_one.delivery.id} == {gone.id, other.id}


async def test_changes_are_events_for_the_tenants_other_endpoints_that_want_them(webhooks: Webhooks) -> None:
    for name, types, tenant in (
        ("we_b", HEALTH_EVENTS, "default"),  # about itself: it is not told
        ("we_a", (EventType.ENDPOINT_DEGRADED,), "default"),  # locked behind it
        ("we_c", HEALTH_EVENTS, "default"),
        ("we_d", (EventType.JOB_FAILED,), "default"),
        ("we_e", HEALTH_EVENTS, "acme"),
    ):
        await webhooks.added(name, event_types=types, tenant=tenant)
    await failing(webhooks, 4, "we_b")
    told = {
        name: (
            await webhooks.log.list("default", DeliveryFilter(endpoint=name, subject="we_b"), after=None, limit=9)
        ).deliveries
        for name in ("we_a", "we_b", "we_c", "we_d")
    }
    assert {name: len(each) for name, each in told.items()} == {"we_a": 0, "we_b": 0, "we_c": 1, "we_d": 0}
    (event,) = told["we_c"]
    assert (event.event_type, event.subject, event.revision) == (EventType.ENDPOINT_FAILING, "we_b", 1)
    assert event.facts | {"failing_since": None} == {
        "name": "the endpoint we_b",
        "url": "https://we-b.example.com/hook",
        "status": "active",
        "reason": "it answered 500",
        "failures": 4,
        "failing_since": None,
    }
    (claim,) = (await webhooks.claim()).claims
    assert claim.delivery == event
    assert await webhooks.log.count("acme", DeliveryFilter()) == 0


async def test_the_next_change_has_a_higher_revision(webhooks: Webhooks) -> None:
    await webhooks.added("we_a")
    await webhooks.added("we_z", event_types=HEALTH_EVENTS)
    await webhooks.added("we_0", event_types=HEALTH_EVENTS)
    claims = []
    for number in range(6):
        await webhooks.waiting("we_a")
        claims += [each for each in (await webhooks.claim()).claims if each.delivery.target == "we_a"]
        await webhooks.record(claims[number], verdict=Verdict.FAILED)
    for name in ("we_z", "we_0"):
        told = (await webhooks.log.list("default", DeliveryFilter(endpoint=name), after=None, limit=9)).deliveries
        assert sorted((each.revision, each.event_type) for each in told) == [
            (1, EventType.ENDPOINT_FAILING),
            (2, EventType.ENDPOINT_DEGRADED),
        ]


async def test_a_failure_that_is_never_over_disables_after_five_days(webhooks: Webhooks) -> None:
    await webhooks.added()
    await failing(webhooks, 6)
    after = timedelta(days=5, seconds=1).total_seconds()
    (probe,) = (await webhooks.claim(after)).claims
    (change,) = await webhooks.record(probe, verdict=Verdict.FAILED, after_s=after)
    assert (change.event_type, change.reason) == (
        EventType.ENDPOINT_DISABLED,
        "no success for 5 days; it answered 500",
    )
    assert (await webhooks.claim(after + 10**6)).next_due_at is None


async def test_an_endpoint_away_for_an_hour_gets_all_of_its_events_each_once_and_in_order(webhooks: Webhooks) -> None:
    await webhooks.added(limits=Limits(max_per_second=5), proven=True)
    due = [delivery(created_at=in_s(60 * minute)) for minute in range(60)]
    got: list[str] = []
    written = 0
    now_s = 0.0
    while len(got) < len(due):
        now_s += 0.5 if now_s > 3600 else 30
        assert now_s < 5000, "it never comes to an end"
        while written < len(due) and due[written].created_at <= in_s(now_s):
            await webhooks.write([due[written]])
            written += 1
        claims = (await webhooks.claim(now_s)).claims
        is_back = now_s > 3600
        got += ids(claims) if is_back else []
        verdict = Verdict.DELIVERED if is_back else Verdict.FAILED
        await webhooks.record(*claims, verdict=verdict, after_s=now_s)
    assert sorted(got) == sorted(each.id for each in due)
    # The first ones had been tried by the schedule before the circuit opened: the others come as they came.
    held = [each.id for each in due[10:]]
    probe = got[0]
    assert [each for each in got[1:] if each in held] == [each for each in held if each != probe]
