"""What is told where a store refuses us: one clear line that names the setting."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from schemas.errors import ConfigurationError
from stores.postgres import require_migrated
from stores.redis import RedisNews
from tests.waiting import eventually


def with_password(url: str, password: str | None) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host if password is None else f":{password}@{host}").geturl()


async def told_of(url: str) -> list[tuple[str, str]]:
    """Levels and events of the log of who waits for news there."""

    async def wait_for_news(news: RedisNews) -> None:
        async for _ in news.done():
            pass

    with capture_logs() as logs:
        async with RedisNews(url, prefix="test") as news:
            waiting = asyncio.create_task(wait_for_news(news))
            await eventually(lambda: logs)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
    return [(entry["log_level"], entry["event"]) for entry in logs]


async def test_a_password_that_redis_refuses_is_told_as_that(redis_url: str) -> None:
    (told,) = await told_of(with_password(redis_url, "wrong"))
    assert told == ("error", "Redis refuses the password")


async def test_a_password_that_is_missing_is_told_as_that(redis_url: str) -> None:
    if urlsplit(redis_url).password is None:
        pytest.skip("this Redis wants no password")
    (told,) = await told_of(with_password(redis_url, None))
    assert told == ("error", "Redis asks for a password")


async def test_a_user_who_may_not_read_our_tables_is_refused_by_the_settings_name(migrated_postgres_dsn: str) -> None:
    admin = await asyncpg.connect(migrated_postgres_dsn)
    try:
        await admin.execute("create role stranger login password 'known'")
        dsn = urlsplit(migrated_postgres_dsn)
        stranger = dsn._replace(netloc=f"stranger:known@{dsn.netloc.rpartition('@')[2]}").geturl()
        with pytest.raises(ConfigurationError, match="PENSTOCK_POSTGRES_DSN: permission denied for table"):
            await require_migrated(stranger)
    finally:
        await admin.execute("drop role stranger")
        await admin.close()
