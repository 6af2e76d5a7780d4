"""Redis, or Valkey: whether it answers, and lets us in."""

import time
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as redis

from penstock.addresses import without_password
from penstock.doctor.findings import Finding, Level, Tell, clock
from penstock.errors import in_a_line
from stores.redis.refusals import refusal

SUBJECT = "Redis"
CONNECT_S = 5.0


class RedisCheck:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, tell: Tell) -> None:
        try:
            async with redis.Redis.from_url(
                self._url, socket_connect_timeout=CONNECT_S, socket_timeout=CONNECT_S
            ) as client:
                asked_at_s = time.time()
                seconds, microseconds = await client.time()
                answered_at_s = time.time()
                about = await client.info("server")
        except (redis.RedisError, OSError) as error:
            tell(unreachable(self._url, error))
            return
        tell(reached(self._url, about))
        tell(clock(SUBJECT, seconds + microseconds / 1e6, asked_at_s, answered_at_s))


def unreachable(url: str, error: Exception) -> Finding:
    refused = refusal(error)
    if refused is not None:
        user = " and its user" if urlsplit(url).username else ""
        return Finding(
            SUBJECT, Level.PROBLEM, f"{refused} ({without_password(url)})", f"put PENSTOCK_REDIS_URL{user} right"
        )
    # Whoever waits for a job is answered a little later; nothing is lost.
    told = f"cannot be reached at {without_password(url)}: {in_a_line(error)}"
    return Finding(SUBJECT, Level.PROBLEM, told, "start it, or name another by PENSTOCK_REDIS_URL; jobs run without it")


def reached(url: str, about: dict[str, Any]) -> Finding:
    name = about.get("server_name") or "redis"
    version = about.get("valkey_version") or about.get("redis_version")
    return Finding(SUBJECT, Level.OK, f"{name} {version} answers at {without_password(url)}")
