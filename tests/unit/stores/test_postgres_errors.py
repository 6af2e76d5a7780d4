"""No error of the driver leaves the stores as it is."""

import asyncpg
import pytest

from schemas.errors import InvalidInput, PenstockError, StoreUnavailable
from stores.postgres.errors import postgres_errors

ROW_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


def every(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every(child))]


SERVER_ERRORS = every(asyncpg.PostgresError)
CLIENT_ERRORS = every(asyncpg.InterfaceError) + every(asyncpg.InternalClientError)


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_becomes_one_of_ours(kind: type[Exception]) -> None:
    wanted = InvalidInput if issubclass(kind, ROW_ERRORS) else StoreUnavailable
    error = kind("select secret from place")
    with pytest.raises(wanted) as raised, postgres_errors():
        raise error
    assert raised.value.__cause__ is error
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    "kind", [*CLIENT_ERRORS, OSError, TimeoutError, ConnectionResetError], ids=lambda kind: kind.__name__
)
def test_every_error_of_the_connection_means_that_the_store_is_away(kind: type[Exception]) -> None:
    error = kind("10.0.0.1")
    with pytest.raises(StoreUnavailable) as raised, postgres_errors():
        raise error
    assert raised.value.__cause__ is error
    assert "10.0.0.1" not in raised.value.message


def test_our_own_errors_and_mistakes_pass_unchanged() -> None:
    for error in (PenstockError("ours"), ZeroDivisionError()):
        with pytest.raises(type(error)) as raised, postgres_errors():
            raise error
        assert raised.value is error
