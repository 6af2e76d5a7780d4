"""What became of a job, as the message that ends it. Pure."""

from collections.abc import Mapping
from datetime import datetime

from runtime.logs import get_logger
from schemas.errors import Canceled, OutputInvalid, PenstockError
from schemas.jobs import Answer, Payload, Status, Terminal
from schemas.oip import encode_response
from schemas.predictions import encode_predictions
from schemas.records import LaneJob
from schemas.signature import Signature
from schemas.tensors import Array
from workers.inference.item import Item, Outcome

log = get_logger(__name__)


def terminal(
    signature: Signature, item: Item, outcome: Outcome, started_at: datetime, completed_at: datetime
) -> Terminal:
    """The end of a job that ran. Outputs that cannot be written fail their own job and no other."""
    if isinstance(outcome, PenstockError):
        return ended(item.job, outcome, completed_at, started_at, item.rows)
    job = item.job
    try:
        result = _encode(signature, item, outcome)
    except Exception as error:
        log.exception("outputs cannot be encoded", job=job.id, model=f"{job.model}/{job.version}")
        unwritable = OutputInvalid(f"the outputs cannot be written ({type(error).__name__})")
        return ended(job, unwritable, completed_at, started_at, item.rows)
    return Terminal(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=job.version,
        lane=job.lane,
        status=Status.SUCCEEDED,
        created_at=job.created_at,
        expires_at=job.expires_at,
        completed_at=completed_at,
        rows=item.rows,
        answer=job.answer,
        variant=job.variant,
        started_at=started_at,
        result=result,
    )


def ended(
    job: LaneJob, error: PenstockError, completed_at: datetime, started_at: datetime | None = None, rows: int = 1
) -> Terminal:
    """The end of a job that has no result."""
    return Terminal(
        tenant=job.tenant,
        id=job.id,
        model=job.model,
        version=job.version,
        lane=job.lane,
        status=Status.CANCELED if isinstance(error, Canceled) else Status.FAILED,
        created_at=job.created_at,
        expires_at=job.expires_at,
        completed_at=completed_at,
        rows=rows,
        answer=job.answer,
        variant=job.variant,
        started_at=started_at,
        error=error.body(),
    )


def _encode(signature: Signature, item: Item, outputs: Mapping[str, Array]) -> Payload:
    if item.job.answer is Answer.PREDICTIONS:
        return encode_predictions(signature, outputs)
    wanted = item.request.outputs
    chosen = {name: outputs[name] for name in wanted} if wanted else outputs
    return encode_response(item.job.model, item.job.version, item.job.id, chosen, item.request.binary_outputs)
