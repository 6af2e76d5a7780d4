"""What other programs write to the requests topic by mistake: each ends as the page says, and none stands in the way of
those behind it."""

import asyncio
import json
import uuid
from typing import NamedTuple

import httpx

from penstock.stack import Stack
from schemas.jobs import job_id_of
from schemas.topics import Topics
from tests.acceptance import kafka
from tests.acceptance.direct import found
from tests.waiting import eventually

VALUE = json.dumps({"instances": ["a"]}).encode()
# More than a record may be, and next to nothing once it is compressed.
LARGE = 8 * 1024 * 1024
SUCCEEDED, DEAD = "succeeded", "dead"
HALF = "\N{GREEK SMALL LETTER ALPHA}".encode()[:1]


class Odd(NamedTuple):
    """A record, and its end: a job's status, the code of its error, or the dead letters with these words."""

    end: str
    value: bytes | None = VALUE
    headers: tuple[tuple[str, str | bytes | None], ...] = ()
    words: str = ""
    model: str = "echo"
    id: str | bytes | None = None


ODD: dict[str, Odd] = {
    "no value": Odd(DEAD, None, words="no value"),
    "an empty value": Odd("invalid_input", b""),
    "no text": Odd("invalid_input", b"\xff\xfe\0"),
    "no UTF-8 in JSON": Odd("invalid_input", b'{"instances": ["' + HALF + b'"]}'),
    "a list": Odd("invalid_input", b"[1, 2]"),
    "nested without end": Odd("invalid_input", b"[" * 100_000),
    "no UTF-8 in its id": Odd(DEAD, id=HALF, words="ce_id is not UTF-8"),
    "no UTF-8 in its source": Odd(DEAD, headers=(("ce_source", HALF),), words="ce_source is not UTF-8"),
    "no UTF-8 in an option": Odd("invalid_request", headers=(("ce_lane", HALF),)),
    "an option without a value": Odd(SUCCEEDED, headers=(("ce_lane", None), ("lane", b""))),
    "an option twice": Odd("invalid_request", headers=(("lane", "live"), ("lane", "bulk"))),
    "headers of others": Odd(
        SUCCEEDED,
        headers=(
            *(("traceparent", "no trace"), ("b3", HALF), ("", "no name"), ("spring_json_header_types", None)),
            *(("ce_subject", HALF), ("ce_tenant", "acme"), ("ce_status", "failed"), ("ce_shadowof", "1")),
        ),
    ),
    "a header that fills the record": Odd(SUCCEEDED, headers=(("x-baggage", b"x" * (3 * 1024 * 1024)),)),
    "a thousand headers": Odd(SUCCEEDED, headers=tuple((f"x-{number}", b"") for number in range(1000))),
    "an id that fills the record": Odd(SUCCEEDED, id="x" * (1024 * 1024)),
    "an id with a line break": Odd(SUCCEEDED, id="a\n\0b"),
    "a model's name that is none": Odd("model_not_found", model="x" * (1024 * 1024)),
    "a number that is none": Odd("invalid_request", headers=(("timeout_s", "NaN"),)),
    "a length beyond the value": Odd(
        "invalid_input", headers=(("content-type", "application/octet-stream"), ("ce_jsonlength", "9" * 18))
    ),
    "an event of another version": Odd(DEAD, headers=(("ce_specversion", "0.3"),), words="CloudEvents 1.0"),
    "no event although it says so": Odd(
        DEAD, headers=(("content-type", "application/cloudevents+json"),), words="specversion"
    ),
    "an event in another format": Odd(
        DEAD, headers=(("content-type", "application/cloudevents+avro"),), words="only JSON"
    ),
    # It goes through the blob store to its worker; its result would be too large for a record as well.
    "a text that is larger than a record may be": Odd(
        "output_invalid", json.dumps({"instances": ["a" * LARGE]}).encode()
    ),
    "no JSON, and larger than a dead letter may be": Odd(DEAD, b" " * LARGE, model="", words="no model name"),
}


def of_mark(name: str, mark: str) -> str:
    return f"{mark}-{list(ODD).index(name)}"


def said(name: str, mark: str) -> kafka.Said:
    odd = ODD[name]
    event_id = of_mark(name, mark)
    own_id = event_id if odd.id is None else f"{event_id}-{odd.id}" if isinstance(odd.id, str) else odd.id
    model = [("model", odd.model)] if odd.model else []
    own_id = own_id if isinstance(own_id, bytes) else own_id.encode()  # what holds a NUL is cut off elsewhere
    return kafka.Said(odd.value, (("ce_id", own_id), ("mark", event_id), *model, *odd.headers), mark)


async def ended(http: httpx.AsyncClient, name: str, mark: str) -> str:
    """The status of its job, or the code of its error."""
    event_id = dict(said(name, mark).headers)["ce_id"]
    assert isinstance(event_id, bytes)
    job = await found(http, job_id_of(event_id.decode(), None))
    return str(job["status"] if job["error"] is None else job["error"]["code"])


async def test_each_ends_as_it_must_and_none_blocks_those_behind_it(
    http: httpx.AsyncClient, stack: Stack, topics: Topics
) -> None:
    mark = f"odd-{uuid.uuid4().hex}"
    # Given all of them in one partition, one after the other, and a sound job behind them
    places = {}
    for name in ODD:
        (places[name],) = kafka.send_all(stack.kafka_bootstrap_servers, topics.requests, [said(name, mark)], "zstd")
    sound = {"ce_id": mark, "model": "echo"}
    last, _ = kafka.send(stack.kafka_bootstrap_servers, topics.requests, VALUE, sound, mark)
    assert {partition for partition, _ in places.values()} == {last}
    # Then that one is answered
    assert (await found(http, mark))["result"] == {"predictions": ["a"]}
    # And each of them has its end
    ends = {name: await ended(http, name, mark) for name, odd in ODD.items() if odd.end != DEAD}
    assert ends == {name: odd.end for name, odd in ODD.items() if odd.end != DEAD}
    with kafka.TopicReader(stack.kafka_bootstrap_servers, topics.dead_letter(topics.requests)) as reader:

        async def buried() -> dict[tuple[int, int], str]:
            heard = await asyncio.to_thread(reader.read_to_end)
            return {place_of(each): each.headers["__dlq.errors.message"].decode() for each in heard}

        dead = {name: odd for name, odd in ODD.items() if odd.end == DEAD}

        async def all_buried() -> bool:
            return {places[name] for name in dead} <= (await buried()).keys()

        await eventually(all_buried, 30, "all that are no jobs are dead letters")
        letters = await buried()
    assert {name: letters[places[name]] for name, odd in dead.items() if odd.words not in letters[places[name]]} == {}


def place_of(letter: kafka.Heard) -> tuple[int, int]:
    partition, offset = (letter.headers[f"__dlq.errors.{name}"] for name in ("partition", "offset"))
    return int(partition), int(offset)
