"""The digits as models whose files can run code: trained or exported in the test, pinned, and served with trust."""

import hashlib
from pathlib import Path
from typing import Any

from tests.integration.models.digits import altered
from workers.inference.backends import Backend, load_backend
from workers.inference.models.repository import ModelRepository


def pinned(root: Path, platform: str, file: Path, **changes: Any) -> Path:
    """A copy of digits that runs `file` on `platform`. Returns the repository."""

    def change(fields: dict[str, Any]) -> None:
        fields.update(
            platform=platform,
            trust="code",
            sha256={file.name: hashlib.sha256(file.read_bytes()).hexdigest()},
            **changes,
        )

    repository = altered(root, "2", change)
    (repository / "digits" / "2" / file.name).write_bytes(file.read_bytes())
    return repository


def load_trusted(repository: Path) -> Backend:
    (version,) = ModelRepository(repository, trust="code").scan(["digits/2"])
    return load_backend(version, "cpu")
