"""Services that others run."""

from penstock.embedded.elsewhere import Elsewhere, Service
from penstock.embedded.environment import clean_environment


def test_an_address_in_the_environment_replaces_a_service() -> None:
    elsewhere = Elsewhere.from_environ({"PENSTOCK_POSTGRES_DSN": "postgresql://db/x", "PENSTOCK_REDIS_URL": ""})
    assert elsewhere == Elsewhere(postgres_dsn="postgresql://db/x")
    assert elsewhere.services == {Service.POSTGRES}


def test_a_service_sees_nothing_that_would_change_it() -> None:
    seen = clean_environment({"PATH": "/bin", "PGDATA": "/x", "JAVA_TOOL_OPTIONS": "-Xint", "LC_ALL": "de_DE"})
    assert seen == {"PATH": "/bin", "LC_ALL": "C"}
