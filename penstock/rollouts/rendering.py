"""What a person sees of rollouts. Pure."""

from datetime import datetime
from typing import Final

from penstock.documents import Document
from penstock.plain import printable
from penstock.showing import ago

LIST_TITLES: Final = ("ROLLOUT", "MODEL", "STATUS", "SHARE", "WHY")
EVENT_TITLES: Final = ("AT", "WHAT", "BY", "SHARE", "WHY")
FINDING_TITLES: Final = ("GUARDRAIL", "FINDS", "FROM")
NUMBERS: Final = ("SHARE",)
# What a hold means, in words.
HOLDS: Final = {
    "stats_stale": "nothing was counted of late: no jobs, or no word of them",
    "no_workers": "no worker serves the version",
    "no_traffic": "the version gets no jobs",
    "srm": "jobs are not split as the route says",
    "too_few": "so few jobs tell nothing yet",
    "inconclusive": "it is not sure yet that the version is as good",
    "weighed": "its share follows from outcomes",
}


def list_row(rollout: Document) -> tuple[str, ...]:
    return (
        rollout["id"],
        f"{rollout['model']}/{rollout['version']}",
        shown(rollout["status"]),
        percent_text(rollout["weight"]),
        why(rollout["verdict"]),
    )


def facts(rollout: Document, now: datetime) -> dict[str, str]:
    """All that is known of a rollout but its findings and events, in order; empty where there is nothing to say."""
    steps = ", ".join(percent_text(step) for step in rollout["steps"])
    place = f"step {rollout['step']} of {len(rollout['steps'])}: {steps}"
    if rollout["strategy"] == "bandit":
        place = f"begun with {steps}; it follows from outcomes"
    return {
        "rollout": rollout["id"],
        "model": f"{rollout['model']}: from version {rollout['stable']} to {rollout['version']}",
        "status": shown(rollout["status"]),
        "share": f"{percent_text(rollout['weight'])}, {place}",
        "step": step_text(rollout, now),
        "verdict": why(rollout["verdict"]),
        "attempt": str(rollout["attempt"]) if rollout["attempt"] > 1 else "",
        "differs": " and ".join(rollout.get("differs") or ()),
        "rescue": "" if rollout["rescue"] else "no: what the version fails, its callers see",
        "strategy": rollout["strategy"] if rollout["strategy"] != "canary" else "",
        "revision": "" if rollout["revision"] is None else f"{rollout['revision']} of the route",
        "started": f"{rollout['created_at']} ({ago(datetime.fromisoformat(rollout['created_at']), now)} ago)",
        "ended": rollout["ended_at"] or "",
    }


def step_text(rollout: Document, now: datetime) -> str:
    """How long it has had its share, and when it may go on at the earliest."""
    if rollout["status"] != "running" or rollout["step_ends_at"] is None:
        return ""
    since = ago(datetime.fromisoformat(rollout["step_began_at"]), now)
    left_s = (datetime.fromisoformat(rollout["step_ends_at"]) - now).total_seconds()
    return f"for {since}; " + (f"goes on in {seconds_text(left_s)} at the earliest" if left_s > 0 else "its time is up")


def finding_rows(verdict: Document | None) -> list[tuple[str, ...]]:
    return [
        (
            each["kind"] + (" (dry run)" if each.get("dry_run") else ""),
            each["decision"],
            each["told"].removeprefix(f"{each['kind']}: "),
        )
        for each in (verdict or {}).get("evidence") or ()
    ]


def event_rows(events: list[Document]) -> list[tuple[str, ...]]:
    """Oldest first."""
    return [
        (
            moment(event["at"]),
            shown(event["verb"]),
            event["by"],
            percent_text(event["weight"]),
            event.get("note") or why(event["verdict"]),
        )
        for event in reversed(events)
    ]


def progress(rollout: Document, event: Document) -> str:
    """A line for whoever waits."""
    reason = event.get("note") or why(event["verdict"])
    where = f"{rollout['model']}/{rollout['version']} at {percent_text(event['weight'])}"
    return printable(f"{moment(event['at'])}  {shown(event['verb'])}: {where}{f' ({reason})' if reason else ''}")


def changed(rollout: Document) -> str:
    """What a verb has come to."""
    where = f"{rollout['model']}/{rollout['version']} has {percent_text(rollout['weight'])} of the traffic"
    return printable(f"{rollout['id']} is {shown(rollout['status'])}: {where}")


def why(verdict: Document | None) -> str:
    """The verdict in words; empty before the first."""
    if verdict is None:
        return ""
    reason = verdict.get("told") or HOLDS.get(verdict["reason"], verdict["reason"])
    return f"{verdict['decision']}: {reason}"


def shown(state: str) -> str:
    return state.replace("_", " ")


def percent_text(percent: float) -> str:
    return f"{percent:g} %"


def moment(at: str) -> str:
    """Local time of day, to the second."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_text(seconds: float) -> str:
    """`45 s`, `10 min`, `3 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
