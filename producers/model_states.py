"""What operators want of model versions, as its topic tells it; and telling it."""

import msgspec

from producers.control_topic import Apply, ControlTopic
from producers.protocols import Publisher
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from schemas.catalog import parse_key, version_key
from schemas.model_states import WantedState, decode_state, encode_state
from schemas.records import OutRecord
from schemas.topics import Topics

log = get_logger(__name__)


class ModelStates:
    """The last state asked for, by model and version. A record that is none keeps what was there before."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, str], WantedState] = {}

    def of(self, model: str, version: str) -> WantedState | None:
        """None where nobody has asked for any."""
        return self._wanted.get((model, version))

    def apply(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the topic; None for a value forgets what was asked for."""
        if value is None:
            self._wanted.pop(parse_key(key), None)
            return
        try:
            self._wanted[parse_key(key)] = decode_state(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("a record is no model's state", key=key.decode("utf-8", "replace"), error=str(error))


def model_states_topic(settings: KafkaSettings, apply: Apply) -> ControlTopic:
    """The reader that feeds a `ModelStates` by its `apply`: `await reader.follow()`."""
    return ControlTopic(settings, settings.topics.model_states, apply)


async def publish_state(publisher: Publisher, topics: Topics, model: str, version: str, wanted: WantedState) -> None:
    """Raises what `Publisher.publish` raises."""
    key = version_key(model, version)
    await publisher.publish(OutRecord(topics.model_states, key, encode_state(wanted), [], partition=0))
