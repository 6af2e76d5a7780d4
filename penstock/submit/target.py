"""Where jobs go: a gateway, or Kafka itself."""

from typing import Protocol

from penstock.submit.outcome import Ending
from producers.bulk.lines import JobLine


class Submission(Protocol):
    """One line on its way."""

    async def send(self) -> str:
        """Submit, and return the job's id once it is durable. After an error that a retry may mend it may be called
        again: the job stays the same. Raises the `PenstockError` that stands in the way."""

    async def ending(self) -> Ending:
        """Wait for the job that `send` has submitted. Raises `PenstockError`."""


class Target(Protocol):
    def submission(self, line: JobLine) -> Submission:
        """Raises `InvalidInput` for a line that cannot go there."""
