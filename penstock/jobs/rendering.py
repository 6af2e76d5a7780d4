"""What a person sees of a job. Pure."""

from datetime import datetime
from typing import Final

from penstock.documents import Document
from penstock.showing import ago

TITLES: Final = ("JOB", "STATUS", "MODEL", "CREATED", "TOOK", "ERROR")


def row(job: Document, now: datetime) -> tuple[str, ...]:
    return (
        job["id"],
        job["status"],
        f"{job['model']}/{job['model_version']}",
        f"{ago(datetime.fromisoformat(job['created_at']), now)} ago",
        took(job),
        why(job),
    )


def facts(job: Document, now: datetime) -> dict[str, str]:
    """All that is known of a job but its result, in order; empty where there is nothing to say."""
    ends = datetime.fromisoformat(job["expires_at"])
    return {
        "job": job["id"],
        "status": job["status"],
        "model": f"{job['model']}/{job['model_version']}",
        "created": f"{job['created_at']} ({ago(datetime.fromisoformat(job['created_at']), now)} ago)",
        "took": took(job),
        "deadline": "" if job["done"] else f"{job['expires_at']} (in {max(0, (ends - now).total_seconds()):.0f} s)",
        "error": why(job),
        "metadata": ", ".join(f"{name}={value}" for name, value in job["metadata"].items()),
    }


def took(job: Document) -> str:
    """From its submit to its end."""
    if job["completed_at"] is None:
        return ""
    seconds = datetime.fromisoformat(job["completed_at"]) - datetime.fromisoformat(job["created_at"])
    return f"{seconds.total_seconds():.2f} s"


def why(job: Document) -> str:
    """Its error; of a job that waits, what keeps it waiting where that is known."""
    error = job["error"]
    if error is None:
        return str(job.get("notice") or "")
    field = f" ({error['param']})" if error.get("param") else ""
    return f"{error['code']}: {error['message']}{field}"
