"""Which models a running stack serves, which it leaves out, and a request to try."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import msgspec

from penstock.example_request import curl_for
from penstock.http_probe import json_at
from penstock.plain import printable
from schemas.signature import Signature

EXAMPLE_MODEL = "digits"
# Beside the example model repository.
EXAMPLE_IMAGE = Path("..", "digits", "images", "7.png")


class Served(NamedTuple):
    """Names of the versions that workers serve, and why others, or whole models, are left out."""

    served: list[str]
    failed: Mapping[str, str]


async def served_models(health_urls: Mapping[str, str]) -> Served:
    """What the workers among the roles say."""
    pages = [await json_at(f"{url}/models") for name, url in health_urls.items() if name.startswith("worker")]
    told = [page for page in pages if page is not None]
    served = sorted({name for page in told for name in page["served"]})
    failed = {name: reason for page in told for name, reason in page["failed"].items() if name not in served}
    return Served(served, failed)


def listing(models: Served, repository: Path) -> list[str]:
    """A line for each version, or one that says what is waited for."""
    if not (models.served or models.failed):
        place = quote(str(shown(repository)))
        return [f"no models yet: what is put into {place} is served within seconds; `penstock init {place}` makes one"]
    width = max(map(len, [*models.served, *models.failed]))
    served = [f"  {name:<{width}}  served" for name in models.served]
    failed = [
        f"  {name:<{width}}  left out: {printable(' '.join(reason.split()))}" for name, reason in models.failed.items()
    ]
    return [f"models in {shown(repository)}", *served, *failed]


async def suggestion(url: str, repository: Path, served: list[str]) -> str:
    """A command that shows the stack at work: with a picture of ours, else with a row for a model of the user's."""
    models = dict.fromkeys(name.partition("/")[0] for name in served)
    picture = example_picture(repository)
    if EXAMPLE_MODEL in models and picture is not None:
        return (
            f"curl -s {quote(url)}/v1/models/{EXAMPLE_MODEL}/jobs -H 'Prefer: wait=10' "
            f"-H 'Content-Type: image/png' --data-binary @{quote(str(picture))}"
        )
    for model in models:
        signature = await signature_of(url, model)
        curl = None if signature is None else curl_for(url, model, signature)
        if curl is not None:
            return curl
    return f"curl -s {quote(url)}/v1/models"


def example_picture(repository: Path) -> Path | None:
    picture = Path(repository, EXAMPLE_IMAGE).resolve()
    return shown(picture) if picture.is_file() else None


async def signature_of(url: str, model: str) -> Signature | None:
    """Of the model's default version, as the gateway has it; None where it has none."""
    found: dict[str, Any] | None = await json_at(f"{url}/v1/models/{model}")
    if found is None:
        return None
    version = await json_at(f"{url}/v1/models/{model}/versions/{found['default_version']}")
    return None if version is None else msgspec.convert(version, Signature)


def shown(path: Path) -> Path:
    """As short as it can be written here."""
    whole = path.absolute()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole
