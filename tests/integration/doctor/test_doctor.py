"""`penstock doctor` over real services."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.embedded.ports import LOOPBACK, choose
from penstock.migrate_settings import MigrateSettings
from producers.topics import base_topics, ensure_topics
from runtime.settings import settings_in
from tests.integration.stores.migrating import session

MAKE_ENDPOINTS = """
insert into webhook_endpoints
    (id, tenant, name, url, event_types, payload, ordered, limits, secrets, created_at, updated_at)
select e.id, 'acme', e.name, 'https://example.com', '{}', 'full', false, '{}', '[]', now(), now()
from (values ('we_a', 'orders'), ('we_b', 'billing'), ('we_c', 'reports')) as e (id, name);
insert into webhook_targets (id, tenant, circuit, reason, since) values
    ('we_a', 'acme', 'active', null, now()), ('we_b', 'acme', 'degraded', 'it answered 500', now()),
    ('we_c', 'acme', 'disabled', 'a try', now() + interval '1 s'),
    ('origin_1', 'other', 'degraded', null, now() + interval '2 s'),
    ('origin_2', 'other', 'degraded', null, now() + interval '3 s');
insert into webhook_deliveries
    (tenant, target, event_type, subject, revision, state, facts, created_at, due_at, ended_at)
select 'acme', d.target, 'job.failed', 'job_1', 3, d.state, '{}', now(), now(),
    case d.state when 'delivered' then now() end
from (values ('we_a', 'pending'), ('we_b', 'pending'), ('we_b', 'pending'), ('we_b', 'delivered'),
    ('origin_1', 'pending')) as d (target, state)
"""


@pytest.fixture
def environ(
    monkeypatch: pytest.MonkeyPatch,
    kafka_bootstrap_servers: str,
    migrated_postgres_dsn: str,
    redis_url: str,
    topic_prefix: str,
) -> dict[str, str]:
    """Of sound services, and of a gateway where nobody listens."""
    variables = {
        "PENSTOCK_KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "PENSTOCK_POSTGRES_DSN": migrated_postgres_dsn,
        "PENSTOCK_REDIS_URL": redis_url,
        "PENSTOCK_TOPIC_PREFIX": topic_prefix,
        "PENSTOCK_GATEWAY_URL": f"http://{LOOPBACK}:{choose(1)[0]}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def told(result: Result) -> dict[tuple[str, str], list[str]]:
    """What was told, by subject and level."""
    found: dict[tuple[str, str], list[str]] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found.setdefault((finding["subject"], finding["level"]), []).append(finding["told"])
    return found


def examined(*options: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--json", *options], catch_exceptions=False)


def test_topics_that_are_missing_come_with_the_command_that_makes_them(environ: dict[str, str]) -> None:
    result = examined()
    found = told(result)
    assert result.exit_code == 2
    (missing,) = found["Kafka", "problem"]
    assert "topics are missing" in missing
    assert len(found["Postgres", "ok"]) == 3
    assert len(found["Redis", "ok"]) == 2
    (gateway,) = found["roles", "problem"]
    assert f"does not answer at {environ['PENSTOCK_GATEWAY_URL']} (PENSTOCK_GATEWAY_URL names it)" in gateway


async def make_endpoints(dsn: str) -> None:
    async with session(dsn) as connection:
        await connection.execute(MAKE_ENDPOINTS)


def test_endpoints_that_are_not_sent_to_are_named_with_what_waits_there(environ: dict[str, str]) -> None:
    assert told(examined())["webhooks", "ok"] == ["no endpoint is degraded or disabled"]
    asyncio.run(make_endpoints(environ["PENSTOCK_POSTGRES_DSN"]))
    found = told(examined())
    assert found["webhooks", "warning"] == [
        "we_b (billing) of tenant acme is degraded: it answered 500; 2 events held",
        "we_c (reports) of tenant acme is disabled: a try; 0 events held",
        "an origin that jobs name (origin_1) of tenant other is degraded; 1 event held",
    ]
    assert ("webhooks", "ok") not in found


async def make_topics(environ: dict[str, str]) -> None:
    settings = settings_in(MigrateSettings, environ)
    await ensure_topics(settings, base_topics(settings, 1))


def test_sound_topics_are_counted_and_groups_that_never_were_are_missed(
    environ: dict[str, str],
) -> None:
    asyncio.run(make_topics(environ))
    found = told(examined())
    assert ("Kafka", "problem") not in found
    assert any("partitions, each with a leader" in line for line in found["Kafka", "ok"])
    assert "no group has ever read: no role ran yet" in found["Kafka", "warning"]


def test_every_service_that_is_wrong_is_told_with_its_real_error_and_no_password(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = f"{LOOPBACK}:{choose(1)[0]}"
    dsn, redis = urlsplit(environ["PENSTOCK_POSTGRES_DSN"]), urlsplit(environ["PENSTOCK_REDIS_URL"])
    monkeypatch.setenv("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS", closed)
    monkeypatch.setenv("PENSTOCK_POSTGRES_DSN", dsn._replace(path="/no-such-database").geturl())
    monkeypatch.setenv(
        "PENSTOCK_REDIS_URL", redis._replace(netloc=f":wrong-password@{redis.netloc.rpartition('@')[2]}").geturl()
    )
    result = examined()
    found = told(result)
    assert found["Kafka", "problem"][0].startswith(f"cannot be reached at {closed}: ")
    assert 'database "no-such-database" does not exist' in found["Postgres", "problem"][0]
    assert found["Redis", "problem"][0].startswith("Redis refuses the password")
    assert "wrong-password" not in result.stdout
    assert dsn.password is None or dsn.password not in result.stdout


def test_a_broker_without_a_port_is_looked_for_where_the_roles_look(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.254")  # nobody listens there
    (problem,) = told(examined())["Kafka", "problem"]
    assert problem.startswith("cannot be reached at 127.0.0.254: ")


def test_who_names_a_gateway_alone_is_told_nothing_of_services_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_URL", f"http://{LOOPBACK}:{choose(1)[0]}")
    found = told(examined())
    assert [subject for subject, level in found if level != "ok"] == ["roles"]
    assert "PENSTOCK_GATEWAY_URL alone is set" in found["stack", "ok"][0]
