"""What a person sees of routes. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from penstock.documents import Document
from penstock.routes.parsing import percent_text
from penstock.showing import ago
from schemas.versions import natural_order

LIST_TITLES: Final = ("MODEL", "REVISION", "CHANGED", "BY", "SHARES")
HISTORY_TITLES: Final = ("REVISION", "CHANGED", "BY", "SHARES", "NOTE")
SHARE_TITLES: Final = ("VERSION", "SHARE", "LABELS")
REPLICA_TITLES: Final = ("REPLICA", "ROLE", "REVISION")
NUMBERS: Final = ("REVISION", "SHARE")


def shares_text(route: Document) -> str:
    """`1 90 %, 2 10 %`; versions without a share are left out."""
    return ", ".join(f"{version} {percent_text(share)}" for version, share in _shares(route) if share)


def list_row(route: Document, now: datetime) -> tuple[str, ...]:
    return (route["model"], str(route["revision"]), _since(route, now), route["updated_by"], shares_text(route))


def history_row(revision: Document, now: datetime) -> tuple[str, ...]:
    route = revision["route"]
    shares = "deleted" if route is None else shares_text(route)
    return str(revision["revision"]), _since(revision, now), revision["updated_by"], shares, revision["note"]


def facts(route: Document, now: datetime) -> dict[str, str]:
    """All that is known of a route but its shares and replicas, in order; empty where there is nothing to say."""
    return {
        "model": route["model"],
        "revision": str(route["revision"]),
        "changed": f"{route['updated_at']} ({_since(route, now)}) by {route['updated_by']}",
        "note": route["note"],
        "rollout": route["rollout"] or "",
        "default": route["default"],
        "sticky": route["sticky"]["source"],
        "salt": route["salt"],
        "pins": ", ".join(_pin(pin) for pin in route["pins"]),
        "shadow": ", ".join(f"{each['version']} {100 * each['rate']:g} %" for each in route["shadow"]),
        "rescue": "yes" if route["rescue"] else "",
        "taken back": ", ".join(route.get("taken_back", ())),
    }


def share_rows(route: Document) -> list[tuple[str, ...]]:
    labels: dict[str, list[str]] = {version: [] for version in route["versions"]}
    for label, version in sorted(route["labels"].items()):
        labels.setdefault(version, []).append(label)
    return [
        (version, percent_text(route["versions"].get(version, 0)), ", ".join(labels[version]))
        for version in sorted(labels, key=natural_order)
    ]


def replica_rows(route: Document) -> list[tuple[str, ...]]:
    return [
        (each["instance"], each["role"], "none" if each["revision"] is None else str(each["revision"]))
        for each in route.get("replicas") or ()
    ]


def who_has(document: Document, waited_s: float) -> str:
    """Whether all gateways and routers have what was changed, for the end of a line; empty where nobody was to wait."""
    replicas: Sequence[Document] = document.get("replicas") or ()
    if document.get("replicas_reason"):
        return f"; whether gateways and routers have it is not known: {document['replicas_reason']}"
    behind = [each for each in replicas if (each["revision"] or 0) < document["revision"]]
    if not replicas:
        return ""
    if not behind:
        return f"; every gateway and router has it ({len(replicas)})"
    names = ", ".join(f"{each['role']} {each['instance']}" for each in behind)
    return f"; not yet after {waited_s:g} s: {names}"


def _shares(route: Document) -> list[tuple[str, int]]:
    return sorted(route["versions"].items(), key=lambda share: natural_order(share[0]))


def _since(document: Document, now: datetime) -> str:
    return f"{ago(datetime.fromisoformat(document['updated_at']), now)} ago"


def _pin(pin: Document) -> str:
    who = f"tenant {pin['tenant']}" if pin.get("tenant") is not None else f"key {pin['key']}"
    return f"{who} to {pin['version']}"
