"""What a person reads when the stack is ready: where everything is, what is served, and something to try."""

from collections.abc import Mapping
from pathlib import Path

from penstock.addresses import without_password
from penstock.served import listing, served_models, suggestion
from penstock.stack import Stack


async def welcome(stack: Stack, repository: Path, seconds: float) -> str:
    """Several lines. Passwords are left out: they stand in the data directory, for us alone to read."""
    models = await served_models(stack.health_urls)
    command = await suggestion(stack.gateway_url, repository, models.served)
    ready = [f"ready in {seconds:.1f} s", *where(stack)]
    return "\n".join(["", *ready, "", *listing(models, repository), "", "try:", f"  {command}", ""])


def where(stack: Stack) -> list[str]:
    url = stack.gateway_url
    data = stack.services.data_dir
    kept = f"{data.path} (removed in the end)" if data.ephemeral else str(data.path)
    places = {
        "API": f"{url}/v1",
        "documentation": f"{url}/docs",
        "Kafka": stack.kafka_bootstrap_servers,
        "Postgres": without_password(stack.postgres_dsn),
        "Redis": without_password(stack.redis_url),
        "data": kept,
    }
    return [*(f"  {name:<14} {place}" for name, place in places.items()), *metrics(stack.health_urls)]


def metrics(health_urls: Mapping[str, str]) -> list[str]:
    """Where each role's metrics are; its health is beside them, at /readyz."""
    lines = [f"{url}/metrics  {name}" for name, url in health_urls.items()]
    return [f"  {'' if index else 'metrics':<14} {line}" for index, line in enumerate(lines)]
