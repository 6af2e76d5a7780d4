"""Names and ids: what they may be made of, and how new job ids are made."""

import hashlib
import os
import re
import time
from typing import Final

DEFAULT_TENANT: Final = "default"

# No dots and no underscores in a model's name: topics are joined with dots, and Kafka holds
# `a.b` and `a_b` for the same metric name, so either would let two lanes collide.
MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
VERSION: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")

# What may stand in a URL path segment and in a Kafka key without escaping.
JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}")

# What a gateway goes by while it runs: a part of the name of the channel on which it is told of ends.
INSTANCE: Final = re.compile(r"[a-z0-9-]{1,64}")

OUR_SOURCES: Final = "/penstock/"
EVENT_PREFIX: Final = "event_"
DIGEST_CHARACTERS: Final = 40


def new_job_id() -> str:
    """A job id that sorts by creation time: milliseconds, then 80 random bits, in hex (RFC 9562 calls it version 7).

    Ordered ids keep the primary key's inserts at one end of the index and give lists their cursor.
    """
    return f"job_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def new_instance() -> str:
    """A name that no other process goes by, nor this one after its next start."""
    return f"gw-{os.urandom(8).hex()}"


def job_id_of(event_id: str, source: str | None) -> str:
    """The id of the job that a CloudEvent asks for; any text can be an event's id.

    An event is told apart by source and id together (CloudEvents 1.0.2, section 3.1), so that both are in the job's id:
    as a digest, but for events of our own and those that name no source, whose id is the job's where it can be one.
    """
    if (source is None or source.startswith(OUR_SOURCES)) and is_job_id(event_id):
        return event_id
    digest = hashlib.sha256(f"{source or ''}\n{event_id}".encode()).hexdigest()
    return f"{EVENT_PREFIX}{digest[:DIGEST_CHARACTERS]}"


def is_model_name(text: str) -> bool:
    return MODEL_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    return VERSION.fullmatch(text) is not None


def is_instance(text: str) -> bool:
    return INSTANCE.fullmatch(text) is not None


def is_job_id(text: str) -> bool:
    return JOB_ID.fullmatch(text) is not None
