"""A job's own webhook, as clients ask for it: which events it is told of. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from schemas.errors import RequestError
from schemas.malformed import did_you_mean
from schemas.webhooks import END_EVENTS, JOB_EVENTS, EventType

URL_OPTION: Final = "webhook"
EVENTS_OPTION: Final = "webhook_events_filter"
MAX_EVENTS_CHARACTERS: Final = 1000

# What may be asked for, and the events that it means: our types, and two names that Replicate's clients use.
MEANT: Final[Mapping[str, Sequence[EventType]]] = {
    **{event: (event,) for event in JOB_EVENTS},
    "start": (EventType.JOB_RUNNING,),
    "completed": END_EVENTS,
}


def asked_events(text: str | None, url: str | None) -> tuple[EventType, ...] | None:
    """The events that a job's webhook is told of; None for all ends.

    `text` holds their names: a list in JSON, or with commas between them. Raises `RequestError`.
    """
    if text is None:
        return None
    if url is None:
        raise _refused("comes with a webhook, and there is none")
    names = _names(text)
    if not names:
        raise _refused("names no event: leave it out to be told of a job's end")
    asked = {event for name in names for event in _meant(name)}
    return tuple(event for event in JOB_EVENTS if event in asked)


def _names(text: str) -> list[str]:
    if len(text) > MAX_EVENTS_CHARACTERS:
        raise _refused(f"has more than {MAX_EVENTS_CHARACTERS} characters")
    if not text.lstrip().startswith("["):
        return [name for part in text.split(",") if (name := part.strip())]
    try:
        return msgspec.json.decode(text, type=list[str])
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise _refused("must be a list of events' names") from error


def _meant(name: str) -> Sequence[EventType]:
    try:
        return MEANT[name]
    except KeyError as error:
        hint = did_you_mean(name, MEANT) or f"; there are {', '.join(MEANT)}"
        raise _refused(f"names {name[:64]!r}, which is no event of a job{hint}") from error


def _refused(rule: str) -> RequestError:
    return RequestError(f"{EVENTS_OPTION} {rule}", param=EVENTS_OPTION)
