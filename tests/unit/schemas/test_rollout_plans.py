import pytest

from schemas.errors import InvalidInput, RequestError
from schemas.rollout_plans import DEFAULT_GUARDRAILS, DEFAULT_STEPS, MAX_BYTES, read_plan
from schemas.rollouts import Guardrail, Kind, Strategy

LEAST = b'{"model":"digits","version":"2"}'


def test_model_and_version_are_enough() -> None:
    plan = read_plan(LEAST)
    assert (plan.model, plan.version, plan.steps, plan.step_time_s) == ("digits", "2", DEFAULT_STEPS, 600.0)
    assert (plan.guardrails, plan.rescue, plan.strategy) == (DEFAULT_GUARDRAILS, True, Strategy.CANARY)


def test_all_that_can_be_said() -> None:
    plan = read_plan(
        b'{"model":"digits","version":"2","steps":[0.5,10],"step_time_s":30,"rescue":false,"strategy":"canary",'
        b'"guardrails":[{"kind":"failed","margin":2,"dry_run":true}]}'
    )
    assert (plan.steps, plan.step_time_s, plan.rescue, plan.strategy) == ((0.5, 10.0), 30.0, False, Strategy.CANARY)
    assert plan.guardrails == (Guardrail(Kind.FAILED, 2.0, dry_run=True),)


def test_a_bandit_has_defaults_of_its_own() -> None:
    plan = read_plan(LEAST[:-1] + b',"strategy":"bandit"}')
    assert (plan.strategy, plan.steps, plan.step_time_s) == (Strategy.BANDIT, (10.0,), 900.0)
    assert plan.guardrails == (*DEFAULT_GUARDRAILS, Guardrail(Kind.OUTCOME_BAD))
    assert (plan.feedback_delay_s, plan.bad_below) == (300.0, 0.5)


def test_a_bandit_can_be_told_its_first_share_its_pace_and_what_is_bad() -> None:
    plan = read_plan(
        LEAST[:-1] + b',"strategy":"bandit","steps":[5],"step_time_s":60,"feedback_delay_s":3600,'
        b'"guardrails":[{"kind":"outcome_bad","threshold":0.8,"dry_run":true}]}'
    )
    assert (plan.steps, plan.step_time_s, plan.feedback_delay_s, plan.bad_below) == ((5.0,), 60.0, 3600.0, 0.8)


def test_outcomes_are_looked_at_where_a_guardrail_is_about_them() -> None:
    assert read_plan(LEAST).bad_below is None
    plan = read_plan(LEAST[:-1] + b',"guardrails":[{"kind":"outcome_bad"}],"feedback_delay_s":0}')
    assert (plan.bad_below, plan.feedback_delay_s) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("given", "field", "rule"),
    [
        (b'"steps":[]', "steps", "length >= 1"),
        (b'"steps":[5,1]', "steps", "must rise"),
        (b'"steps":[5,5]', "steps", "must rise"),
        (b'"steps":[0,5]', "steps", "above 0"),
        (b'"steps":[5,101]', "steps", "at most 100"),
        (b'"steps":[0.001]', "steps", "two decimals"),
        (b'"steps":[100]', "steps", "begin below 100"),
        (b'"steps":["a"]', "steps", "Expected `float`"),
        (b'"steps":[1e400]', "steps", "out of range"),
        (b'"step_time_s":0', "step_time_s", ">= 1"),
        (b'"step_time_s":1e9', "step_time_s", "<= 2592000"),
        (b'"guardrails":[]', "guardrails", "length >= 1"),
        (b'"guardrails":[{"kind":"failed"},{"kind":"failed"}]', "guardrails", "name a kind twice"),
        (b'"guardrails":[{"kind":"failed","margin":0.5}]', "guardrails", "margins of 1 to 100"),
        (b'"guardrails":[{"kind":"failed","limit":1.5}]', "guardrails", "floors and limits of 0 to 1"),
        (b'"guardrails":[{"kind":"sad"}]', "guardrails", "Invalid enum value 'sad'"),
        (b'"guardrails":[{"kind":"failed","margins":2}]', "margins", "unknown field"),
        (b'"strategy":"bandit","steps":[1,5]', "steps", "of a bandit are one"),
        (b'"strategy":"bandit","step_time_s":59', "step_time_s", "must be 60 or more"),
        (b'"strategy":"bandit","guardrails":[{"kind":"failed"}]', "guardrails", "need one of kind outcome_bad"),
        (b'"feedback_delay_s":60', "feedback_delay_s", "needs a guardrail of kind outcome_bad"),
        (b'"guardrails":[{"kind":"outcome_bad"}],"step_time_s":300', "feedback_delay_s", "shorter than step_time_s"),
        (b'"guardrails":[{"kind":"outcome_bad"}],"feedback_delay_s":-1', "feedback_delay_s", ">= 0"),
        (b'"guardrails":[{"kind":"failed","threshold":0.5}]', "guardrails", "threshold for outcome_bad only"),
        (b'"guardrails":[{"kind":"outcome_bad","threshold":0}]', "guardrails", "thresholds above 0, at most 1"),
        (b'"strategy":"random"', "strategy", "Invalid enum value 'random'"),
        (b'"step":[1]', "step", "did you mean steps?"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_field_and_rule(given: bytes, field: str | None, rule: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_plan(LEAST[:-1] + b"," + given + b"}")
    assert rule in refused.value.message
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "not valid JSON"),
        (b"[]", "Expected `object`"),
        (b'{"model":"digits"}', "missing required field `version`"),
        (b'{"model":"Digits","version":"2"}', "model is no model's name"),
        (b'{"model":"digits","version":"_"}', "version is no version"),
        (b'{"model":"digits","version":2}', "Expected `str`"),
        (b"\xff", "not valid JSON"),
        (b"[" * 5000, "not a rollout"),
        (b" " * MAX_BYTES + LEAST, "at most 16384 bytes"),
    ],
)
def test_what_is_no_rollout_is_refused(body: bytes, rule: str) -> None:
    with pytest.raises(RequestError, match=rule):
        read_plan(body)


def test_a_member_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="version is given twice"):
        read_plan(b'{"model":"digits","version":"2","version":"3"}')
    with pytest.raises(InvalidInput, match=r"guardrails\[0\].kind is given twice"):
        read_plan(LEAST[:-1] + b',"guardrails":[{"kind":"slow","kind":"failed"}]}')
