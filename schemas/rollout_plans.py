"""How a rollout is asked for: the JSON of a plan, read and held against its rules."""

import re
from itertools import pairwise
from typing import Annotated, Final

import msgspec

from schemas.errors import RequestError
from schemas.malformed import did_you_mean, why_not_json
from schemas.members import refuse_twins
from schemas.names import is_model_name, is_version
from schemas.rollouts import HUNDRED, Guardrail, Kind, Plan, Strategy
from schemas.routes import WHOLE

DEFAULT_STEPS: Final = (1.0, 5.0, 25.0, 50.0, 100.0)
DEFAULT_STEP_TIME_S: Final = 600.0
DEFAULT_GUARDRAILS: Final = (Guardrail(Kind.FAILED), Guardrail(Kind.INVALID_OUTPUT), Guardrail(Kind.SLOW))
# What nobody counts yet: a version could not be told from one that does well.
NOT_COUNTED: Final = frozenset({Kind.DISAGREE, Kind.OUTCOME_BAD})
MAX_STEPS: Final = 20
MAX_STEP_TIME_S: Final = 30 * 24 * 3600.0
MAX_MARGIN: Final = 100.0
MAX_BYTES: Final = 16 * 1024

_FIELD: Final = re.compile(r"(?:field `|at `\$\.)([^`.\[]+)")


class PlanDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is posted. `steps` are percents of the traffic that rise; one of 100 is the promotion itself. Where the
    version takes other inputs than the one before, `other_inputs` must say that this is meant."""

    model: str
    version: str
    steps: Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)] = DEFAULT_STEPS
    step_time_s: Annotated[float, msgspec.Meta(ge=1, le=MAX_STEP_TIME_S)] = DEFAULT_STEP_TIME_S
    guardrails: Annotated[tuple[Guardrail, ...], msgspec.Meta(min_length=1)] = DEFAULT_GUARDRAILS
    rescue: bool = True
    strategy: Strategy = Strategy.CANARY
    other_inputs: bool = False


_decoder: Final = msgspec.json.Decoder(PlanDocument)


def read_plan(body: bytes) -> Plan:
    """Raises `RequestError` naming the field and the rule."""
    document = _decode(body)
    if not is_model_name(document.model):
        raise _refused("model", "is no model's name: small letters, digits and -")
    if not is_version(document.version):
        raise _refused("version", "is no version: small letters, digits, . and -")
    if document.strategy is not Strategy.CANARY:
        raise _refused("strategy", f"{document.strategy} is not available: only {Strategy.CANARY} is")
    return Plan(
        model=document.model,
        version=document.version,
        steps=_steps(document.steps),
        step_time_s=document.step_time_s,
        guardrails=_guardrails(document.guardrails),
        rescue=document.rescue,
        strategy=document.strategy,
        other_inputs=document.other_inputs,
    )


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
    if unknown := NOT_COUNTED.intersection(kinds):
        raise _refused("guardrails", f"of kind {min(unknown)} are not available: nothing is counted for it")
    if any(not 1 <= guardrail.margin <= MAX_MARGIN for guardrail in guardrails):
        raise _refused("guardrails", f"have margins of 1 to {MAX_MARGIN:g}: how many times as often is still allowed")
    if any(not 0 <= share <= 1 for each in guardrails for share in (each.floor, each.limit) if share is not None):
        raise _refused("guardrails", "have floors and limits of 0 to 1: shares of the jobs")
    return guardrails


def _refused(field: str, rule: str) -> RequestError:
    return RequestError(f"{field} {rule}", param=field)
