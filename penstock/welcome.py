"""What a person reads when the stack is ready: where everything is, and something to try."""

from pathlib import Path
from urllib.parse import urlsplit

from penstock.stack import Stack

EXAMPLE_MODEL = "digits"
# Beside the example model repository.
EXAMPLE_IMAGE = Path("..", "digits", "images", "7.png")


def welcome(stack: Stack, models: Path, seconds: float) -> str:
    """Several lines. Passwords are left out: they stand in the data directory, for us alone to read."""
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
    lines = [f"ready in {seconds:.1f} s", *(f"  {name:<14} {place}" for name, place in places.items())]
    return "\n".join(["", *lines, "", "try:", f"  {suggestion(url, models)}", ""])


def without_password(address: str) -> str:
    """The address with the password, if it has one, left out."""
    parts = urlsplit(address)
    if parts.password is None:
        return address
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}{parts.netloc.rpartition('@')[2]}").geturl()


def suggestion(url: str, models: Path) -> str:
    """A command that shows the stack at work."""
    image = Path(models, EXAMPLE_IMAGE).resolve()
    if (models / EXAMPLE_MODEL).is_dir() and image.is_file():
        if image.is_relative_to(Path.cwd()):
            image = image.relative_to(Path.cwd())
        return (
            f"curl -s {url}/v1/models/{EXAMPLE_MODEL}/jobs -H 'Prefer: wait=10' "
            f"-H 'Content-Type: image/png' --data-binary @{image}"
        )
    return f"curl -s {url}/v1/models"
