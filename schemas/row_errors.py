"""Results that tell of each row by itself: those of jobs that asked for `row_errors`. Pure.

An Open Inference Protocol response has, in its `parameters`, `row_errors`: the rows that have none, in order, each as
`{"row": 17, "code": ..., "message": ..., "type": ..., "param": ...}`; rows count from 0. Its tensors hold the other
rows, in order: of a job of 1,000 rows with two errors, 998. Where no row was answered there may be no outputs at all.
`{"predictions": [...]}` has null where a row has an error, and `row_errors` beside it.
"""

import msgspec

from schemas.errors import ErrorBody


class RowError(msgspec.Struct, frozen=True, omit_defaults=False):
    """Why a row was not answered; `row` counts from 0 within its job."""

    row: int
    code: str
    message: str
    type: str
    param: str | None = None

    @classmethod
    def of(cls, row: int, error: ErrorBody) -> "RowError":
        return cls(row, error.code, error.message, error.type, error.param)

    @property
    def error(self) -> ErrorBody:
        return ErrorBody(self.code, self.message, self.type, self.param)
