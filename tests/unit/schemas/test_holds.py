"""Which hold a job meets, and what an operator may ask for."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import AdmissionRefused, Canceled, RequestError
from schemas.hold_documents import WantedHold, decode_hold, encode_hold, read_hold
from schemas.holds import NO_HOLDS, Action, Hold, HoldSet, admission_refused, ended_by
from schemas.jobs import Submitted
from schemas.topics import Lane, LaneClass

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def hold(action: Action = Action.HOLD, hold_id: str = "h", after_s: float = 0.0, **fields: Any) -> Hold:
    made_at = NOON + timedelta(seconds=after_s)
    return Hold(id=hold_id, action=action, created_by="anna", created_at=made_at, **fields)


def job(after_s: float = 0.0, **fields: Any) -> Submitted:
    said: dict[str, Any] = {"tenant": "acme", "model": "digits", "version": "1", "lane": LaneClass.LIVE, **fields}
    return Submitted(id="j", created_at=NOON + timedelta(seconds=after_s), expires_at=NOON + timedelta(hours=1), **said)


_texts = st.sampled_from(["a", "b"])
_jobs = st.builds(
    job,
    after_s=st.integers(0, 3),
    tenant=_texts,
    model=_texts,
    version=_texts,
    lane=st.sampled_from(LaneClass),
)
_holds = st.lists(
    st.builds(
        hold,
        action=st.sampled_from(Action),
        after_s=st.integers(0, 3),
        tenant=st.none() | _texts,
        model=st.none() | _texts,
        version=st.none() | _texts,
        lane=st.none() | st.sampled_from(LaneClass),
        hold_id=st.uuids().map(str),
    ),
    max_size=12,
)


@given(_holds, _jobs, st.randoms())
def test_a_job_meets_the_same_hold_in_whatever_order_they_are_known_and_one_that_means_it(
    holds: list[Hold], met: Submitted, chance: Any
) -> None:
    shuffled = list(holds)
    chance.shuffle(shuffled)
    known, other = HoldSet(holds), HoldSet(shuffled)
    where = (met.tenant, met.model, met.version, met.lane)
    assert (known.holding(met), known.parking(met)) == (other.holding(met), other.parking(met))
    assert (known.refusing(*where), known.ending(met)) == (other.refusing(*where), other.ending(met))

    meant = {action: [each for each in holds if each.action is action and each.fits(met)] for action in Action}
    ends = [each for each in meant[Action.END] if each.created_at >= met.created_at]
    assert (known.ending(met) in ends) == bool(ends)
    assert (known.refusing(*where) in meant[Action.REFUSE]) == bool(meant[Action.REFUSE])
    assert (known.holding(met) in meant[Action.HOLD]) == (bool(meant[Action.HOLD]) and not ends)
    assert (known.parking(met) is not None) == any(each.tenant for each in meant[Action.HOLD])
    pausing = known.pausing(Lane(met.model, met.version, met.lane))
    assert (pausing is not None) == any(each.tenant is None for each in meant[Action.HOLD])


def test_without_holds_nothing_is_held() -> None:
    assert NO_HOLDS.holding(job()) is None
    assert NO_HOLDS.ending(job()) is None
    assert NO_HOLDS.refusing("acme", "digits", "1", LaneClass.LIVE) is None
    assert NO_HOLDS.pausing(Lane("digits", "1", LaneClass.LIVE)) is None


def test_of_several_holds_the_oldest_is_told_and_releasing_it_leaves_the_other() -> None:
    first, second = hold(hold_id="b", model="digits"), hold(hold_id="a", after_s=1, tenant="acme")
    assert HoldSet([second, first]).holding(job()) == first
    assert HoldSet([second]).holding(job()) == second


def test_an_end_ends_only_what_was_there_when_it_was_set() -> None:
    holds = HoldSet([hold(Action.END, model="digits", after_s=5), hold(Action.END, "older", model="digits")])
    assert holds.ending(job(after_s=5)) is not None
    assert holds.ending(job(after_s=5.001)) is None


def test_what_is_to_end_waits_no_more() -> None:
    holds = HoldSet([hold(model="digits"), hold(Action.END, "e", tenant="acme", after_s=5)])
    assert holds.holding(job()) is None
    assert holds.holding(job(tenant="other")) is not None


def test_a_hold_of_a_tenant_pauses_no_lane_and_one_of_a_lane_parks_nobody() -> None:
    lane = Lane("digits", "1", LaneClass.LIVE)
    by_tenant, by_lane = HoldSet([hold(tenant="acme", model="digits")]), HoldSet([hold(lane=LaneClass.LIVE)])
    assert (by_tenant.pausing(lane), by_lane.parking(job())) == (None, None)
    assert by_tenant.parking(job()) is not None
    assert by_tenant.parking(job(tenant="other")) is None
    assert by_lane.pausing(lane) is not None


def test_what_is_told_names_what_is_meant_and_why() -> None:
    refused = admission_refused(hold(Action.REFUSE, model="digits", tenant="acme", reason="bad labels"))
    assert isinstance(refused, AdmissionRefused)
    assert refused.message == "an operator has new jobs of model digits, tenant acme refused: bad labels"
    assert refused.retry_after_s == 30
    ended = ended_by(hold(Action.END, lane=LaneClass.BULK))
    assert isinstance(ended, Canceled)
    assert ended.message == "an operator ended the jobs of lane bulk that waited"


def test_a_hold_is_read_back_as_it_was_written_and_what_a_newer_version_adds_is_passed_over() -> None:
    said = hold(model="digits", version="1", tenant="ac me", lane=LaneClass.BULK, reason="é")
    assert decode_hold(encode_hold(said)) == said
    newer = json.loads(encode_hold(said)) | {"until": "tomorrow"}
    assert decode_hold(json.dumps(newer).encode()) == said


def test_what_an_operator_asks_for_is_read() -> None:
    body = b'{"action": "end", "model": "digits", "version": null, "lane": "bulk", "reason": " too many "}'
    wanted = read_hold(body)
    assert wanted == WantedHold(action=Action.END, model="digits", lane=LaneClass.BULK, reason="too many")


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ("{}", "action", "must say an action: one of hold, refuse, end"),
        ('{"action": "stop", "model": "m"}', "action", "action must be one of hold, refuse, end"),
        ('{"action": "hold"}', "model", "give at least one of model, version, tenant and lane"),
        ('{"action": "hold", "model": null}', "model", "at least one"),
        ('{"action": "hold", "model": "No"}', "model", "model must be a model's name"),
        ('{"action": "hold", "version": "1"}', "version", "version must come with its model"),
        ('{"action": "hold", "model": "m", "version": "A b"}', "version", "version must name a version"),
        ('{"action": "hold", "tenant": ""}', "tenant", "tenant must have 1 to 255 characters"),
        ('{"action": "hold", "tenant": "a\\u0000"}', "tenant", "none of them a control character"),
        ('{"action": "hold", "lane": "slow"}', "lane", "lane must be live or bulk"),
        ('{"action": "hold", "model": 7}', "model", "not a hold"),
        ('{"action": "hold", "model": "m", "reason": "a\\nb"}', "reason", "reason must be one line"),
        (f'{{"action": "hold", "model": "m", "reason": "{"x" * 201}"}}', "reason", "at most 200"),
        ('{"action": "hold", "modle": "m"}', "modle", "a hold has no member 'modle'; did you mean"),
        ('{"action": "hold", "model": "m", "model": "n"}', "model", "model is given twice"),
        ("[]", None, "not a hold"),
        ("{", None, "not valid JSON"),
        ('"' + "\\ud800" + '"', None, "JSON"),
        ('{"reason": ' + "[" * 5000, "reason", "not a hold"),
    ],
)
def test_each_rule_is_told_with_the_member_that_breaks_it(body: str, param: str | None, told: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_hold(body.encode())
    assert (refused.value.param, told in refused.value.message) == (param, True), refused.value.message
