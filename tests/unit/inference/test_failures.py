"""What a failure of a run says, and about what."""

import pytest

from schemas.errors import InvalidInput, JobError, ModelUnavailable, OutOfMemory, OutputInvalid, TransientFailure
from workers.inference.execution.failures import DeviceFailed, Scope, failure_of


@pytest.mark.parametrize(
    ("raised", "together", "alone"),
    [
        (JobError("no"), Scope.MICRO_BATCH, Scope.ROW),
        (OutputInvalid("no"), Scope.MICRO_BATCH, Scope.ROW),
        (InvalidInput("no"), Scope.MICRO_BATCH, Scope.ROW),
        (ValueError("secret"), Scope.MICRO_BATCH, Scope.ROW),
        (SystemExit(3), Scope.MICRO_BATCH, Scope.ROW),
        (OutOfMemory("no"), Scope.MICRO_BATCH, Scope.ROW),
        (MemoryError(), Scope.PROCESS, Scope.ROW),
        (TransientFailure("later"), Scope.MOMENT, Scope.MOMENT),
        (ModelUnavailable("later"), Scope.MODEL, Scope.MODEL),
        (DeviceFailed(), Scope.DEVICE, Scope.DEVICE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_a_failure_has_one_scope(raised: BaseException, together: Scope, alone: Scope) -> None:
    assert failure_of(raised, alone=False).scope is together
    assert failure_of(raised, alone=True).scope is alone


def test_only_the_device_says_that_a_size_is_too_large() -> None:
    assert failure_of(OutOfMemory("no"), alone=False).too_large
    assert not failure_of(MemoryError(), alone=False).too_large


def test_a_foreign_exception_keeps_its_words_to_itself() -> None:
    assert "secret" not in failure_of(ValueError("secret"), alone=True).error.message


def test_what_passes_by_itself_is_not_run_in_parts() -> None:
    assert not failure_of(TransientFailure("later"), alone=False).may_pass_in_parts
    assert failure_of(JobError("no"), alone=False).may_pass_in_parts
