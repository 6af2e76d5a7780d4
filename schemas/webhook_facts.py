"""What a delivery knows of its subject: members of its event's `data` once the job is kept no longer. Pure."""

from typing import Any, Final

import msgspec

from schemas.jobs import Job
from schemas.rollouts import Rollout

# Metadata with more characters, as JSON, is left out: each delivery has its own.
MOST_METADATA_CHARACTERS: Final = 2000


def job_facts(job: Job) -> dict[str, Any]:
    """The job's document, but for what the delivery says already, its result and its links. Postgres makes the same."""
    metadata = msgspec.json.encode(job.metadata).decode()
    facts: dict[str, Any] = msgspec.to_builtins(
        {
            "status": job.status,
            "done": job.done,
            "model": job.model,
            "model_version": job.version,
            "variant": job.variant,
            "batch_id": job.batch_id,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "completed_at": job.completed_at,
            "expires_at": job.expires_at,
            "error": job.error,
            "metadata": job.metadata if len(metadata) <= MOST_METADATA_CHARACTERS else {},
        }
    )
    return facts


def rollout_facts(rollout: Rollout) -> dict[str, Any]:
    """Members of the rollout's document, the verdict without its evidence."""
    verdict = rollout.verdict
    facts: dict[str, Any] = msgspec.to_builtins(
        {
            "model": rollout.plan.model,
            "version": rollout.plan.version,
            "stable": rollout.stable,
            "status": rollout.status,
            "step": rollout.step + 1,
            "attempt": rollout.attempt,
            "verdict": None
            if verdict is None
            else {"decision": verdict.decision, "reason": verdict.reason, "told": verdict.told},
            "created_at": rollout.created_at,
            "updated_by": rollout.updated_by,
            "ended_at": rollout.ended_at,
        }
    )
    return facts
