"""Nothing that a record holds leaves the decoder: each record becomes one thing that can be written down."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidInput, JobError, TransientFailure
from schemas.jobs import Payload, end_of
from schemas.oip import InferRequest, parse_request
from schemas.records import terminal_record
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.examples import examples
from tests.unit.inference.jobs import LIVE, NOON, SIGNATURE, TOPICS, lane_job, record, request_json
from workers.consuming.protocols import Record
from workers.dead_letters import dead_letter
from workers.inference.batching.compatibility import BatchCompatibility
from workers.inference.batching.padding import PaddedInput, Padding
from workers.inference.batching.pending_job import PendingJob
from workers.inference.batching.ragged_rows import RaggedRows
from workers.inference.decoding.record_decoder import Decoded, Ended, RecordDecoder, UndecodableRecord
from workers.inference.decoding.tokenizer import LazyTokenizer, TextTokenizer
from workers.inference.results.retry_policy import retry_record

TEXTS: Final = Signature(inputs=(TensorSpec("x", "BYTES", (-1,), text=True, max_tokens=8),), outputs=SIGNATURE.outputs)
RULES: Final = BatchCompatibility(Padding({"input_ids": PaddedInput((1,))}), batch_by=("lang",))


class Panic(BaseException):
    """As the bindings of Rust libraries raise."""


class Encoding(NamedTuple):
    ids: list[int]

    @property
    def type_ids(self) -> list[int]:
        return [0] * len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


class Letters:
    """A token a character. Some texts break it."""

    def encode_batch_fast(self, texts: Sequence[str]) -> list[Encoding]:
        for text in texts:
            if "panic" in text:
                raise Panic(text)
            if "memory" in text:
                raise MemoryError
        return [Encoding([ord(letter) % 64 for letter in text[:8]]) for text in texts]


class LettersTokenizer(LazyTokenizer):
    """`unreadable` as a file that is being replaced. Counts its calls."""

    def __init__(self, *, unreadable: bool = False) -> None:
        self._letters = TextTokenizer(Letters(), ("input_ids", "attention_mask"), 8, vocab_size=60)  # type: ignore[arg-type]
        self._unreadable = unreadable
        self.calls = 0

    @property
    def input(self) -> str:
        return "x"

    @property
    def loaded(self) -> bool:
        return True

    def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, RaggedRows]]:
        self.calls += 1
        if self._unreadable:
            raise TransientFailure("the tokenizer cannot be read at the moment")
        return self._letters.encode_each(inputs)


def decoders() -> list[RecordDecoder]:
    """Of every kind: of numbers and of texts, with and without `batch_by`, with tokenizers that fail."""
    by_lang = BatchCompatibility(batch_by=("lang",))
    return [
        RecordDecoder(LIVE, SIGNATURE, frozenset()),
        RecordDecoder(LIVE, SIGNATURE, frozenset(), by_lang, most_bytes=4000),
        RecordDecoder(LIVE, TEXTS, frozenset(), by_lang),
        RecordDecoder(LIVE, TEXTS, frozenset(), RULES, LettersTokenizer(), most_bytes=4000),
        RecordDecoder(LIVE, TEXTS, frozenset(), RULES, LettersTokenizer(unreadable=True)),
    ]


def _list(values: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(values) + b"]"


def _object(values: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(orjson.dumps(key) + b":" + value for key, value in values.items()) + b"}"


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _tensor(datatype: bytes, shape: bytes, more: bytes, parameters: bytes = b"{}") -> bytes:
    """A request of one tensor, JSON or not."""
    tensor = b'{"name":"x","datatype":"%b","shape":%b,%b}' % (datatype, shape, more)
    return b'{"inputs":[%b],"parameters":%b}' % (tensor, parameters)


# Integers of any size, any depth: right in JSON, and something on the way might not bear them. Some are wrong in JSON.
numbers = st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**30, 0]).map(lambda number: b"%d" % number)
odd = st.sampled_from(
    [b"1" + b"0" * 5000, b"1.5", b"true", b"null", b"NaN", b"1e999", b'"\\ud800"', b'"\xff"', b"", b"{"]
)
leaves = numbers | odd | st.text(max_size=5).map(orjson.dumps) | st.integers(0, 5000).map(_nested)
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(_list) | st.dictionaries(st.text(max_size=5), inner, max_size=2).map(_object)
    ),
    max_leaves=4,
)
# The whole of `parameters`; what stands under the name that micro-batches are made by; and that name twice.
parameters = (
    json_values
    | json_values.map(lambda value: b'{"lang":%b}' % value)
    | json_values.map(lambda value: b'{"lang":1,"lang":%b}' % value)
)
values = st.sampled_from([b"[1.0]", b'["a"]', b'["panic"]', b'["memory"]', b'["\\ud800"]', b"[1e39]", b"[[1.0]]"])
datatypes = st.sampled_from([b"FP32", b"BYTES", b"INT64"])
shapes = st.sampled_from([b"[1,1]", b"[1]", b"[-1]", b"[99999999999,99999999999]", b"[0]", b"[]"])
sizes = st.sampled_from([b"4", b"6", b"-1", b"1e3", b"99999999999999999999999"])
requests = st.builds(_tensor, datatypes, shapes, (values | json_values).map(lambda data: b'"data":' + data), parameters)
raw = st.builds(_tensor, datatypes, shapes, sizes.map(lambda size: b'"parameters":{"binary_data_size":%b}' % size))
tails = st.sampled_from([b"", b"\x02\0\0\0\xff\xfe", b"\x02\0\0\0ab", b"\xff\xff\xff\xff", b"\0\0\x80\x3f"])
payloads = (
    requests.map(Payload)
    | st.builds(lambda head, tail: Payload(head + tail, "application/octet-stream", len(head)), raw, tails)
    | st.builds(Payload, st.binary(max_size=60), st.text(max_size=9), st.none() | st.integers(-1, 99))
    | st.just(request_json([1.0]))
)

NAMES = ["ce_id", "ce_model", "ce_modelversion", "ce_lane", "ce_tenant", "ce_answer", "ce_variant", "ce_jsonlength"]
TIMES = [b"2026-01-01T00:00:00Z", b"2026-01-01", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"]
headers = st.lists(
    st.tuples(st.sampled_from(["ce_time", "ce_deadline"]), st.sampled_from(TIMES))
    | st.tuples(st.sampled_from(NAMES), st.binary(max_size=40) | st.sampled_from([b"-1", b"1", b"live", b"digits"]))
    | st.tuples(st.text(max_size=8), st.binary(max_size=40)),
    max_size=6,
)


def _record(payload: Payload, over: Sequence[tuple[str, bytes]], *, value: bool = True) -> Record:
    """A record with headers laid over those of a sound job."""
    sound = lane_job(payload=payload)
    written = record(lane_job(sound.id))
    as_sent = [("content-type", payload.content_type.encode("utf-8", "surrogatepass"))]
    if payload.json_length is not None:
        as_sent.append(("ce_jsonlength", b"%d" % payload.json_length))
    return written._replace(value=payload.value if value else None, headers=(*written.headers, *as_sent, *over))


records = st.builds(_record, payloads, st.just([]) | headers, value=st.sampled_from([True] * 9 + [False]))


def write_down(read: Decoded, rules: BatchCompatibility) -> None:
    """What the worker does with what was read."""
    if isinstance(read, UndecodableRecord):
        assert dead_letter(read.record, "group", read.error).value == read.record.value
        return
    error = read.error if isinstance(read, Ended) else JobError("no")
    assert terminal_record(TOPICS.results, end_of(read.job, error, NOON), "/test").value
    assert retry_record("topic", read.record, 1, error).value == read.record.value
    if isinstance(read, PendingJob):
        stacked = rules.padding.stack([read.request.inputs])
        assert {len(rows) for rows in stacked.values()} == {read.rows}
        assert hash(read.group) is not None
        assert read.held_bytes >= len(read.record.value or b"")


@examples(300)
@given(st.lists(records, max_size=4))
def test_every_record_becomes_one_thing_that_can_be_written_down(fetched: list[Record]) -> None:
    for decoder in decoders():
        decoded = decoder.read_all(fetched, NOON)
        assert [each.record for each in decoded] == fetched
        for each in decoded:
            write_down(each, RULES)


def read_with(tokenizer: LazyTokenizer | None, *bodies: bytes, rules: BatchCompatibility = RULES) -> list[Decoded]:
    decoder = RecordDecoder(LIVE, TEXTS, frozenset(), rules, tokenizer)
    return decoder.read_all([record(lane_job(payload=Payload(body))) for body in bodies], NOON)


def text_body(text: str, parameters: bytes = b"{}") -> bytes:
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [text]}
    return b'{"inputs":[%b],"parameters":%b}' % (orjson.dumps(tensor), parameters)


@pytest.mark.parametrize("tokenizer", [None, LettersTokenizer()], ids=["plain", "tokenized"])
@pytest.mark.parametrize(
    "value", [b"123456789012345678901234567890", b"[" * 400 + b"]" * 400, b'"%b"' % (b"x" * 70_000)]
)
def test_a_parameter_that_cannot_be_compared_fails_its_job_alone(tokenizer: LazyTokenizer | None, value: bytes) -> None:
    broken, sound = read_with(tokenizer, text_body("a", b'{"lang":%b}' % value), text_body("b", b'{"lang":"en"}'))
    assert isinstance(broken, Ended)
    assert isinstance(broken.error, InvalidInput)
    assert "parameters: lang: " in broken.error.message
    assert isinstance(sound, PendingJob)


def test_parameters_that_differ_in_kind_or_value_are_of_different_groups_and_order_does_not_matter() -> None:
    values = [b"1", b"1.0", b"true", b'"1"', b"null", b'{"a":1,"b":2}']
    read = read_with(None, *[text_body("a", b'{"lang":%b}' % value) for value in values])
    (turned,) = read_with(None, text_body("a", b'{"lang":{"b":2,"a":1}}'))
    groups = [each.group for each in read if isinstance(each, PendingJob)]
    assert len(set(groups)) == len(values)
    assert isinstance(turned, PendingJob)
    assert turned.group == groups[-1]


@pytest.mark.parametrize(
    ("text", "kind"), [("panic", InvalidInput), ("memory", TransientFailure), ("}", JobError)], ids=str
)
def test_a_text_that_breaks_the_tokenizer_ends_its_own_job_only(text: str, kind: type[Exception]) -> None:
    first, broken, last = read_with(LettersTokenizer(), text_body("a"), text_body(text), text_body("b"))
    assert isinstance(first, PendingJob)
    assert isinstance(last, PendingJob)
    assert isinstance(broken, Ended)
    assert type(broken.error) is kind


def test_a_tokenizer_that_cannot_be_read_is_tried_once_for_all_jobs_and_none_is_to_blame() -> None:
    tokenizer = LettersTokenizer(unreadable=True)
    read = read_with(tokenizer, *[text_body("a")] * 3)
    assert [each.error.retryable for each in read if isinstance(each, Ended)] == [True] * 3
    assert tokenizer.calls == 1


def test_memory_that_runs_out_over_one_record_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(signature: Signature, payload: Payload) -> InferRequest:
        if payload.value == b"large":
            raise MemoryError
        return parse_request(signature, payload)

    monkeypatch.setattr("workers.inference.decoding.record_decoder.parse_request", parse)
    large, sound = read_with(None, b"large", text_body("a"))
    assert isinstance(large, Ended)
    assert large.error.retryable
    assert isinstance(sound, PendingJob)
