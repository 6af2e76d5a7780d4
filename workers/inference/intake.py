"""From a fetched record to a job that may run, or to what becomes of it instead. Pure."""

from collections.abc import Container
from datetime import datetime
from typing import NamedTuple

from runtime.logs import get_logger
from schemas.errors import Canceled, DeadlineExceeded, InvalidInput, PenstockError, RequestError, Undecodable
from schemas.oip import parse_request
from schemas.records import LaneJob, read_lane_record
from schemas.signature import Signature
from schemas.topics import Lane
from stores.seams import JobKey
from workers.consuming.seams import Record
from workers.inference.item import Item

log = get_logger(__name__)


class Ended(NamedTuple):
    """A job that ends without running."""

    record: Record
    job: LaneJob
    error: PenstockError


class Dead(NamedTuple):
    """A record that is no job at all."""

    record: Record
    error: Undecodable


class Intake:
    """Reads the records of one lane. `canceled` holds the jobs that clients have taken back.

    Nothing that a record holds makes it raise: the record would come again, and end the next worker as well.
    """

    def __init__(self, lane: Lane, signature: Signature, canceled: Container[JobKey]) -> None:
        self._lane = lane
        self._signature = signature
        self._canceled = canceled

    def read(self, record: Record, now: datetime) -> Item | Ended | Dead:
        try:
            job = read_lane_record(record.headers, record.value)
        except Undecodable as error:
            return Dead(record, error)
        except Exception as error:
            log.exception("a record broke the decoder", topic=record.topic, offset=record.offset)
            return Dead(record, Undecodable(f"the record cannot be read ({type(error).__name__})"))
        ended = self.ended(job, now)
        if ended is not None:
            return Ended(record, job, ended)
        try:
            self._check_lane(job)
            return Item(record, job, parse_request(self._signature, job.payload))
        except RequestError as error:
            return Ended(record, job, error)
        except Exception as error:
            log.exception("an input broke the decoder", job=job.id, topic=record.topic, offset=record.offset)
            return Ended(record, job, InvalidInput(f"the input cannot be read ({type(error).__name__})"))

    def ended(self, job: LaneJob, now: datetime) -> PenstockError | None:
        """Why the job must not cost anything any more, or None."""
        if job.expires_at <= now:
            return DeadlineExceeded("the deadline passed before the job was done")
        if JobKey(job.tenant, job.id) in self._canceled:
            return Canceled("the job was canceled")
        return None

    def _check_lane(self, job: LaneJob) -> None:
        if (job.model, job.version) != (self._lane.model, self._lane.version):
            raise InvalidInput(
                f"the record is for {job.model}/{job.version}, but lies in the lane of "
                f"{self._lane.model}/{self._lane.version}",
                param="model",
            )
