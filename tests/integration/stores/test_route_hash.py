"""The hash of a route in another language: Postgres counts as docs/routing.md says and as our code does."""

import secrets

import asyncpg

from schemas.routes import bucket
from tests.hash_vectors import sql, vectors


async def test_postgres_finds_the_same_places(postgres_dsn: str) -> None:
    told = vectors()
    keys = [(secrets.token_urlsafe(8), f"user-{number}-é") for number in range(200)]
    expected = [place for _, _, place in told] + [bucket(salt, key) for salt, key in keys]
    connection = await asyncpg.connect(postgres_dsn)
    try:
        places = [await connection.fetchval(sql(), salt, key) for salt, key in [*((s, k) for s, k, _ in told), *keys]]
    finally:
        await connection.close()
    assert len(told) >= 10
    assert places == expected
