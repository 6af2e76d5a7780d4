"""What a person sees of endpoints and deliveries. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

from penstock.documents import Document
from penstock.showing import ago
from stores.webhooks import MOST_COUNTED

LIST_TITLES: Final = ("ENDPOINT", "STATUS", "WAIT", "GOES TO", "EVENTS")
DELIVERY_TITLES: Final = ("DELIVERY", "STATE", "EVENT", "TRIES", "AGE", "ABOUT", "WHY")
ATTEMPT_TITLES: Final = ("AT", "TOOK", "ANSWER", "HEAD")
ENDPOINT_NUMBERS: Final = ("WAIT",)
DELIVERY_NUMBERS: Final = ("TRIES",)


def list_row(endpoint: Document) -> tuple[str, ...]:
    waits = endpoint["pending"]
    return (
        endpoint["id"],
        endpoint["status"],
        counted(waits) if waits else "",
        goes_to(endpoint),
        ", ".join(endpoint["event_types"]),
    )


def counted(number: int) -> str:
    """`7`, `10000+`."""
    return f"{MOST_COUNTED}+" if number >= MOST_COUNTED else str(number)


def goes_to(endpoint: Document) -> str:
    return "is pulled" if endpoint["mode"] == "pull" else endpoint["url"] or ""


def facts(endpoint: Document, now: datetime) -> dict[str, str]:
    """All that is known of an endpoint, in order; empty where there is nothing to say."""
    return {
        "endpoint": endpoint["id"],
        "name": endpoint["name"],
        "goes to": goes_to(endpoint),
        "events": ", ".join(endpoint["event_types"]),
        "status": endpoint["status"],
        "why": endpoint.get("status_reason") or "",
        "failures": f"{endpoint['failures']} in a row" if endpoint["failures"] else "",
        "delivered": since(endpoint.get("last_success_at"), now),
        "wait": waiting(endpoint, now),
        "payload": endpoint["payload"],
        "ordered": "yes: one at a time of each job" if endpoint["ordered"] else "",
        "limits": limits(endpoint),
        "secret": endpoint.get("signing_secret") or endpoint.get("signing_secret_hint") or "",
        "created": since(endpoint["created_at"], now),
    }


def waiting(endpoint: Document, now: datetime) -> str:
    """How many events wait, whether they are held, and how old the oldest is."""
    if not endpoint["pending"]:
        return ""
    held = " (held)" if endpoint["held"] else ""
    oldest = endpoint.get("oldest_pending_at")
    return f"{counted(endpoint['pending'])}{held}" + (f", the oldest for {ago(moment(oldest), now)}" if oldest else "")


def limits(endpoint: Document) -> str:
    """Of one that is sent to."""
    if endpoint["mode"] == "pull":
        return ""
    found = endpoint["limits"]
    rate = f"{found['max_per_second']:g} a second, " if found.get("max_per_second") else ""
    times = f"{found['timeout_s']:g} s each, {found['connect_timeout_s']:g} s to connect"
    return f"{found['concurrency']} at a time, {rate}{times}"


def delivery_row(delivery: Document, now: datetime) -> tuple[str, ...]:
    return (
        delivery["id"],
        delivery["state"],
        delivery["type"],
        str(delivery["tried"]),
        ago(moment(delivery["created_at"]), now),
        delivery["subject"],
        why(delivery),
    )


def why(delivery: Document) -> str:
    """Why it was not delivered by its last attempt."""
    if delivery["state"] == "delivered":
        return ""
    status, error = delivery.get("last_status"), delivery.get("last_error")
    return error or (f"HTTP {status}" if status else "")


def delivery_facts(delivery: Document, now: datetime) -> dict[str, str]:
    due = delivery["due_at"] if delivery["state"] == "pending" else None
    return {
        "delivery": delivery["id"],
        "event": f"{delivery['type']}, revision {delivery['revision']}",
        "about": delivery["subject"],
        "goes to": delivery.get("url") or delivery["endpoint"] or "",
        "state": delivery["state"],
        "why": why(delivery),
        "created": since(delivery["created_at"], now),
        "next": until(due, now),
        "ended": since(delivery.get("ended_at"), now),
    }


def attempt_row(attempt: Document) -> tuple[str, ...]:
    answer = str(attempt["status"]) if attempt["status"] else attempt["error"] or "no answer"
    probe = " (probe)" if attempt.get("probe") else ""
    at = moment(attempt["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return at, f"{attempt['latency_ms']} ms", answer + probe, (attempt.get("head") or "").partition("\n")[0]


def since(at: Any, now: datetime) -> str:
    return f"{ago(moment(at), now)} ago" if at else ""


def until(at: Any, now: datetime) -> str:
    if not at:
        return ""
    return f"in {ago(now, moment(at))}" if moment(at) > now else "now"


def moment(at: Any) -> datetime:
    """Of Unix seconds, as endpoints have them, or of RFC 3339, as all else of ours has."""
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at)
