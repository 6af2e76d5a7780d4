"""The one place where asyncpg's errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from schemas.errors import ConfigurationError, InvalidInput, PenstockError, StoreUnavailable

DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Those that one row brings upon its statement, whatever the state of the server.
_BAD_ROW: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
# What refuses a job that has a slot, from a store that has not heard yet that there are any.
_MISPLACED: Final = "jobs_without_a_slot"

# What no waiting mends: the address is wrong, or what its user may do, not the moment.
_REFUSED: Final = (
    asyncpg.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def connecting() -> Iterator[None]:
    """For the first connection: `postgres_errors`, but `ConfigurationError` where the address cannot be right."""
    with postgres_errors():
        try:
            yield
        except _REFUSED as error:
            raise ConfigurationError(f"PENSTOCK_POSTGRES_DSN: {str(error).splitlines()[0]}") from error


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Raise `InvalidInput` for what a row brought upon itself, `StoreUnavailable` for all else, the cause kept."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error


def is_of_row(error: BaseException) -> bool:
    """Whether a row brought it upon its statement, and would again."""
    return isinstance(error, _BAD_ROW) and not _is_misplaced(error)


def _is_misplaced(error: BaseException) -> bool:
    return isinstance(error, asyncpg.CheckViolationError) and error.constraint_name == _MISPLACED


def translated(error: Exception, *, perhaps_done: bool = False) -> PenstockError:
    if _is_misplaced(error):
        return StoreUnavailable("it is not known yet where jobs lie that are made now")
    if is_of_row(error):
        return InvalidInput("a value does not fit the store")
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return StoreUnavailable("the database lacks migrations of this version: run `penstock migrate`")
    return StoreUnavailable("the database is not available", perhaps_done=perhaps_done)
