"""Whose request it is. One place, so that API keys can come without a change elsewhere."""

from collections.abc import Mapping
from typing import Any

from schemas.names import DEFAULT_TENANT


def tenant_of(scope: Mapping[str, Any]) -> str:  # noqa: ARG001 - keys will be read from the request
    """The tenant a request acts for."""
    return DEFAULT_TENANT
