"""What worker and child say to each other."""

import numpy as np
import pytest

from schemas.errors import (
    ConfigurationError,
    InvalidInput,
    JobError,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TransientFailure,
    Unavailable,
)
from workers.inference.backends.isolated.messages import (
    BadRow,
    Done,
    Failed,
    Named,
    Run,
    decode_answer,
    decode_run,
    encode,
    failed,
    named,
    raised,
    raised_rows,
)
from workers.inference.backends.isolated.shared_memory import Place
from workers.inference.backends.own_frames import ChildTraceback
from workers.inference.execution.bad_rows import BadRows
from workers.inference.execution.failures import DeviceFailed

PLACE = Place("x", "<f4", (2, 3), 64, 24)


def crossed(error: BaseException) -> PenstockError | DeviceFailed:
    """The error on the other side."""
    answer = decode_answer(encode(failed(error)))
    assert isinstance(answer, Failed)
    return raised(answer)


def test_an_order_arrives_as_it_was() -> None:
    order = Run([PLACE], {"temperature": 0.5, "stop": ["a", None], "deep": {"er": True}})
    assert decode_run(encode(order)) == order


def test_an_answer_arrives_as_it_was() -> None:
    assert decode_answer(encode(Done([PLACE]))) == Done([PLACE])


@pytest.mark.parametrize(
    "kind", [ConfigurationError, InvalidInput, JobError, OutOfMemory, OutputInvalid, TransientFailure]
)
def test_our_errors_cross_as_what_they_are(kind: type[PenstockError]) -> None:
    error = crossed(kind("what is wrong", param="inputs[0]"))
    assert type(error) is kind
    assert (error.message, error.param) == ("what is wrong", "inputs[0]")


@pytest.mark.parametrize("foreign", [ValueError("/secret/path"), SystemExit(3), Unavailable("/secret/path")])
def test_foreign_errors_cross_without_their_words(foreign: BaseException) -> None:
    error = crossed(foreign)
    assert type(error) is JobError
    assert error.message == f"the model failed on this input ({type(foreign).__name__})"


def test_named_rows_cross_with_their_errors() -> None:
    errors = {5: InvalidInput("what is wrong", param="x"), 2: ValueError("/secret/path"), 3: TransientFailure("later")}
    answer = decode_answer(encode(named(BadRows(errors), [PLACE])))
    assert isinstance(answer, Named)
    assert answer.outputs == [PLACE]
    outputs = {"x": np.zeros((2, 3), np.float32)}
    bad_rows = raised_rows(answer, outputs)
    assert bad_rows.outputs is outputs
    told = {row: (type(error), error.args[0]) for row, error in bad_rows.errors.items()}
    assert told == {
        2: (JobError, "the model failed on this input (ValueError)"),
        3: (TransientFailure, "later"),
        5: (InvalidInput, "what is wrong"),
    }
    assert "/secret/path" in str(bad_rows.first_error.__cause__)


@pytest.mark.parametrize("rows", [[], [BadRow(-1, "invalid_input", "", None)]])
def test_a_naming_that_no_child_of_ours_makes_is_a_value_error(rows: list[BadRow]) -> None:
    with pytest.raises(ValueError, match="no row, or one that cannot be"):
        raised_rows(Named(rows, None, ""), None)


def test_the_trace_crosses_as_the_cause_for_the_log() -> None:
    def guilty() -> None:
        raise ValueError("/secret/path")

    with pytest.raises(ValueError, match="secret") as caught:
        guilty()
    cause = crossed(caught.value).__cause__
    assert isinstance(cause, ChildTraceback)
    assert "in guilty" in str(cause)
    assert "ValueError: /secret/path" in str(cause)


@pytest.mark.parametrize("nonsense", [b"", b"\xc1", encode(None), encode({"type": "Other"}), encode(Run([], {}))])
def test_what_no_child_of_ours_says_is_a_value_error(nonsense: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is msgspec's to say
        decode_answer(nonsense)
