"""Names of tenants, models, versions and gateways: what they may be made of."""

import os
import re
from typing import Final

DEFAULT_TENANT: Final = "default"
MAX_TENANT: Final = 255  # characters, where documents name one

# No dots and no underscores in a model's name: topics are joined with dots, and Kafka holds
# `a.b` and `a_b` for the same metric name, so either would let two lanes collide.
MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
VERSION: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
# Of a hold.
HOLD_ID: Final = re.compile(r"hold_[0-9a-f]{1,64}")

# What a gateway goes by while it runs: a part of the name of the channel on which it is told of ends.
INSTANCE: Final = re.compile(r"[a-z0-9-]{1,64}")


def new_instance() -> str:
    """A name that no other process goes by, nor this one after its next start."""
    return f"gw-{os.urandom(8).hex()}"


def is_model_name(text: str) -> bool:
    return MODEL_NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    return VERSION.fullmatch(text) is not None


def is_hold_id(text: str) -> bool:
    return HOLD_ID.fullmatch(text) is not None


def is_instance(text: str) -> bool:
    return INSTANCE.fullmatch(text) is not None
