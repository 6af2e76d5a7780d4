import pytest

from schemas.errors import RequestError
from schemas.job_webhooks import asked_events
from schemas.webhooks import END_EVENTS, EventType

URL = "https://example.com/"


def test_without_a_filter_a_webhook_is_told_of_the_end_alone() -> None:
    assert asked_events(None, URL) is None
    assert asked_events(None, None) is None


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("job.succeeded", (EventType.JOB_SUCCEEDED,)),
        ("completed", END_EVENTS),
        ("start", (EventType.JOB_RUNNING,)),
        ("completed, start", (EventType.JOB_RUNNING, *END_EVENTS)),
        (",job.failed,,job.running,job.failed", (EventType.JOB_RUNNING, EventType.JOB_FAILED)),
        ('["completed"]', END_EVENTS),
        (' ["job.canceled", "job.failed"]', (EventType.JOB_FAILED, EventType.JOB_CANCELED)),
    ],
)
def test_events_are_named_as_we_or_as_replicate_name_them(text: str, events: tuple[EventType, ...]) -> None:
    assert asked_events(text, URL) == events


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "names no event"),
        (" , ", "names no event"),
        ("[]", "names no event"),
        ('[""]', "no event of a job"),
        ("[", "must be a list"),
        ("[1]", "must be a list"),
        ('["start"', "must be a list"),
        ("rollout.promoted", "no event of a job"),
        ("job.succeded", "did you mean job.succeeded?"),
        ("output", "there are job.running, job.succeeded, job.failed, job.canceled, start, completed"),
        ("start," * 1000, "more than 1000 characters"),
    ],
)
def test_a_filter_that_breaks_a_rule_is_refused_by_name(text: str, rule: str) -> None:
    with pytest.raises(RequestError, match="webhook_events_filter") as refused:
        asked_events(text, URL)
    assert rule in refused.value.message
    assert refused.value.param == "webhook_events_filter"


def test_a_filter_without_a_webhook_is_refused() -> None:
    with pytest.raises(RequestError, match="there is none"):
        asked_events("completed", None)
