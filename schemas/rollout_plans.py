"""How a rollout is asked for: the JSON of a plan, read and held against its rules."""

import re
from itertools import pairwise
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from schemas.errors import RequestError
from schemas.malformed import did_you_mean, why_not_json
from schemas.members import refuse_twins
from schemas.names import is_model_name, is_version
from schemas.rollouts import DEFAULT_FEEDBACK_DELAY_S, HUNDRED, Guardrail, Kind, Plan, Strategy
from schemas.routes import WHOLE

DEFAULT_STEPS: Final = (1.0, 5.0, 25.0, 50.0, 100.0)
DEFAULT_STEP_TIME_S: Final = 600.0
DEFAULT_GUARDRAILS: Final = (Guardrail(Kind.FAILED), Guardrail(Kind.INVALID_OUTPUT), Guardrail(Kind.SLOW))
# A bandit moves callers between versions with each new share: not more often than that.
SHORTEST_WEIGHING_S: Final = 60.0
MAX_STEPS: Final = 20
MAX_STEP_TIME_S: Final = 30 * 24 * 3600.0
MAX_MARGIN: Final = 100.0
MAX_BYTES: Final = 16 * 1024

_FIELD: Final = re.compile(r"(?:field `|at `\$\.)([^`.\[]+)")


class PlanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is posted. `steps` are percents of the traffic that rise; one of 100 is the promotion itself. With the
    strategy `bandit` it is one, 10 if not given, and the share follows from what callers tell of answers, anew every
    `step_time_s` (900) at most. Outcomes count `feedback_delay_s` after their jobs have ended. Where the version takes
    other inputs than the one before, `other_inputs` must say that this is meant."""

    model: str
    version: str
    steps: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)] | UnsetType = UNSET
    step_time_s: Annotated[float, msgspec.Meta(ge=1, le=MAX_STEP_TIME_S)] | UnsetType = UNSET
    guardrails: Annotated[tuple[Guardrail, ...], msgspec.Meta(min_length=1)] | UnsetType = UNSET
    rescue: bool = True
    strategy: Strategy = Strategy.CANARY
    other_inputs: bool = False
    feedback_delay_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_STEP_TIME_S)] | UnsetType = UNSET


class _Defaults(NamedTuple):
    """What a strategy takes where nothing is said."""

    steps: tuple[float, ...]
    step_time_s: float
    guardrails: tuple[Guardrail, ...]


_DEFAULTS: Final = {
    Strategy.CANARY: _Defaults(DEFAULT_STEPS, DEFAULT_STEP_TIME_S, DEFAULT_GUARDRAILS),
    Strategy.BANDIT: _Defaults((10.0,), 900.0, (*DEFAULT_GUARDRAILS, Guardrail(Kind.OUTCOME_BAD))),
}
_decoder: Final = msgspec.json.Decoder(PlanDocument)


def read_plan(body: bytes) -> Plan:
    """Raises `RequestError` naming the field and the rule."""
    document = _decode(body)
    if not is_model_name(document.model):
        raise _refused("model", "is no model's name: small letters, digits and -")
    if not is_version(document.version):
        raise _refused("version", "is no version: small letters, digits, . and -")
    default = _DEFAULTS[document.strategy]
    plan = Plan(
        model=document.model,
        version=document.version,
        steps=default.steps if document.steps is UNSET else _steps(document.steps),
        step_time_s=default.step_time_s if document.step_time_s is UNSET else document.step_time_s,
        guardrails=default.guardrails if document.guardrails is UNSET else _guardrails(document.guardrails),
        rescue=document.rescue,
        strategy=document.strategy,
        other_inputs=document.other_inputs,
        feedback_delay_s=(
            DEFAULT_FEEDBACK_DELAY_S if document.feedback_delay_s is UNSET else document.feedback_delay_s
        ),
    )
    _check_outcomes(plan, is_delay_given=document.feedback_delay_s is not UNSET)
    return plan


def _check_outcomes(plan: Plan, *, is_delay_given: bool) -> None:
    """What is about outcomes must have some to be about."""
    if plan.strategy is Strategy.BANDIT:
        _check_bandit(plan)
    elif plan.bad_below is None:
        if is_delay_given:
            raise _refused("feedback_delay_s", "needs a guardrail of kind outcome_bad: nothing else waits for feedback")
    elif plan.feedback_delay_s >= plan.step_time_s:
        raise _refused("feedback_delay_s", "must be shorter than step_time_s: else no outcome of a step comes in time")


def _check_bandit(plan: Plan) -> None:
    if len(plan.steps) > 1:
        raise _refused("steps", "of a bandit are one: the share that it begins with; outcomes say what follows")
    if plan.step_time_s < SHORTEST_WEIGHING_S:
        raise _refused(
            "step_time_s", f"of a bandit must be {SHORTEST_WEIGHING_S:g} or more: callers keep their version"
        )
    if plan.bad_below is None:
        raise _refused("guardrails", "of a bandit need one of kind outcome_bad: its shares follow from outcomes")


def _decode(body: bytes) -> PlanDocument:
    if len(body) > MAX_BYTES:
        raise RequestError(f"a rollout has at most {MAX_BYTES} bytes")
    try:
        document = _decoder.decode(body)
        refuse_twins(body, 0)
    except msgspec.ValidationError as error:
        found = _FIELD.search(str(error))
        field = found[1][:64] if found else None
        unknown = field is not None and "unknown" in str(error)
        hint = did_you_mean(field or "", PlanDocument.__struct_fields__) if unknown else ""
        raise RequestError(f"the body is not a rollout: {error}{hint}", param=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {why_not_json(error, body)}") from error
    except RecursionError as error:
        raise RequestError("the body is nested too deeply") from error
    return document


def _steps(steps: tuple[float, ...]) -> tuple[float, ...]:
    if any(not 0 < step <= HUNDRED or not _is_whole(step) for step in steps):
        raise _refused("steps", "are percents above 0, at most 100, with at most two decimals")
    if any(before >= after for before, after in pairwise(steps)):
        raise _refused("steps", "must rise")
    if steps[0] == HUNDRED:
        raise _refused("steps", "begin below 100; `penstock route switch` moves all at once")
    return steps


def _is_whole(step: float) -> bool:
    """Shares are counted in basis points."""
    points = step * WHOLE / HUNDRED
    return abs(points - round(points)) < 1e-6


def _guardrails(guardrails: tuple[Guardrail, ...]) -> tuple[Guardrail, ...]:
    kinds = [guardrail.kind for guardrail in guardrails]
    if len(set(kinds)) < len(kinds):
        raise _refused("guardrails", "name a kind twice")
    if any(not 1 <= guardrail.margin <= MAX_MARGIN for guardrail in guardrails):
        raise _refused("guardrails", f"have margins of 1 to {MAX_MARGIN:g}: how many times as often is still allowed")
    if any(not 0 <= share <= 1 for each in guardrails for share in (each.floor, each.limit) if share is not None):
        raise _refused("guardrails", "have floors and limits of 0 to 1: shares of the jobs")
    for each in guardrails:
        if each.threshold is not None and each.kind is not Kind.OUTCOME_BAD:
            raise _refused("guardrails", "have a threshold for outcome_bad only: others count no rewards")
        if each.threshold is not None and not 0 < each.threshold <= 1:
            raise _refused("guardrails", "have thresholds above 0, at most 1: rewards below are bad")
    return guardrails


def _refused(field: str, rule: str) -> RequestError:
    return RequestError(f"{field} {rule}", param=field)
