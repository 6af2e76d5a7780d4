"""Texts become padded token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigurationError, InvalidInput, JobError
from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from tests.integration.models.needs import need
from tests.unit.inference.jobs import LIVE, NOON, lane_job, record, request_of
from workers.consuming.protocols import Record
from workers.inference.backends.reference_inputs import given_inputs
from workers.inference.batching.compatibility import BatchCompatibility, Dimension
from workers.inference.batching.padding import PaddedInput, Padding
from workers.inference.batching.pending_job import PendingJob
from workers.inference.batching.ragged_rows import RaggedRows, Rows
from workers.inference.decoding.record_decoder import INLINE_TEXT_BYTES, Ended, RecordDecoder
from workers.inference.decoding.tokenizer import (
    CHUNK_TEXTS,
    READ_CHARACTERS_A_TOKEN,
    LazyTokenizer,
    TextTokenizer,
    load_tokenizer,
)
from workers.inference.models.model_parameters import Parameters, TokenizerParameters, TokenTensor
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.pin import Pin
from workers.inference.models.reference_rows import ReferenceRows

need("tokenizers")

from tokenizers import Encoding, Tokenizer  # noqa: E402 - after the check above
from tokenizers.models import WordLevel  # noqa: E402
from tokenizers.pre_tokenizers import Whitespace  # noqa: E402
from tokenizers.processors import TemplateProcessing  # noqa: E402

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "water": 4, "gate": 5, "größe": 6}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A tokenizer of whole words, `[CLS] words [SEP]`; as published ones do, it pads to a fixed length and cuts."""
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.enable_padding(pad_id=3, pad_token="[PAD]", length=16)
    tokenizer.enable_truncation(16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def version(file: Path, max_tokens: int = 8, produces: tuple[TokenTensor, ...] = ("input_ids",)) -> ModelVersion:
    return ModelVersion(
        model="words",
        version="1",
        directory=file.parent,
        file=file.parent / "model.onnx",
        platform="onnxruntime_onnx",
        max_batch_size=8,
        max_wait_s=0.0,
        signature=Signature(inputs=(TensorSpec("text", "BYTES", (-1,)),), outputs=()),
        parameters=Parameters(tokenizer=TokenizerParameters(input="text", max_tokens=max_tokens, produces=produces)),
        tokenizer_file=file,
    )


def load(file: Path, max_tokens: int = 8, produces: tuple[TokenTensor, ...] = ("input_ids",)) -> TextTokenizer:
    return load_tokenizer(version(file, max_tokens, produces))


def texts(*rows: str | bytes) -> Array:
    return np.array(rows, dtype=object)


PAD = PaddedInput((1,), 3)
PADDING = Padding({"input_ids": PAD, "attention_mask": PaddedInput((1,)), "token_type_ids": PaddedInput((1,))})


def padded(tensors: Mapping[str, Rows]) -> dict[str, Array]:
    return PADDING.stack([tensors])


def encode(tokenizer: TextTokenizer, rows: Array) -> dict[str, Array]:
    (tensors,) = tokenizer.encode_each([rows])
    return padded(tensors)


def test_rows_are_padded_to_the_longest_of_them(file: Path) -> None:
    ids = encode(load(file), texts("water", "water gate water", ""))["input_ids"]
    assert ids.tolist() == [[1, 4, 2, 3, 3], [1, 4, 5, 4, 2], [1, 2, 3, 3, 3]]
    assert ids.dtype == np.int64


def test_the_mask_is_one_where_tokens_stand_and_all_three_tensors_have_one_shape(file: Path) -> None:
    tokenizer = load(file, produces=("attention_mask", "token_type_ids", "input_ids"))
    tensors = encode(tokenizer, texts("water", "gate gate"))
    assert tensors["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert tensors["token_type_ids"].tolist() == [[0] * 4] * 2
    assert {name: array.dtype for name, array in tensors.items()} == dict.fromkeys(tensors, np.dtype(np.int64))
    assert list(tensors) == ["attention_mask", "token_type_ids", "input_ids"]


def test_long_texts_are_cut_and_keep_their_special_tokens(file: Path) -> None:
    ids = encode(load(file, max_tokens=4), texts("water gate water gate water"))["input_ids"]
    assert ids.tolist() == [[1, 4, 5, 2]]


def test_bytes_are_read_as_utf8(file: Path) -> None:
    tokenizer = load(file)
    as_bytes = encode(tokenizer, texts("größe".encode(), b"unknown"))["input_ids"]
    np.testing.assert_array_equal(as_bytes, encode(tokenizer, texts("größe", "unknown"))["input_ids"])
    assert as_bytes.tolist() == [[1, 6, 2], [1, 0, 2]]


def test_bytes_that_are_no_utf8_are_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="a text is not UTF-8: byte 3 of it cannot be read"):
        encode(load(file), texts(b"wat\xff"))


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json: is not a tokenizer: "):
        load(tmp_path / "tokenizer.json")


def test_a_file_that_is_not_the_pinned_one_is_not_loaded(file: Path) -> None:
    pinned = replace(version(file), pins=(Pin("tokenizer.json", file, "0" * 64),))
    with pytest.raises(ConfigurationError, match=r"is not the file that model\.yaml pins"):
        load_tokenizer(pinned)


def test_texts_of_many_jobs_are_padded_each_job_for_itself(file: Path) -> None:
    tensors = load(file).encode_each([texts("water"), texts("water gate water", "gate"), texts("")])
    assert [padded(each)["input_ids"].tolist() for each in tensors] == [
        [[1, 4, 2]],
        [[1, 4, 5, 4, 2], [1, 5, 2, 3, 3]],
        [[1, 2]],
    ]


def lane(file: Path, texts_of_version: LazyTokenizer | None = None) -> RecordDecoder:
    words = version(file, produces=("input_ids", "attention_mask"))
    rules = BatchCompatibility(PADDING, charged=(Dimension("input_ids", 1),))
    return RecordDecoder(LIVE, words.signature, frozenset(), rules, texts_of_version or LazyTokenizer(words))


def text_record(*rows: str) -> Record:
    return record(lane_job(payload=request_of({"text": texts(*(row.encode() for row in rows))})))


def test_jobs_are_measured_in_tokens_before_they_are_collected(file: Path) -> None:
    nonsense = record(lane_job())._replace(value=b"nonsense")
    first, broken, second = lane(file).read_all([text_record("water"), nonsense, text_record("", "gate gate")], NOON)
    assert isinstance(first, PendingJob)
    assert isinstance(second, PendingJob)
    assert isinstance(broken, Ended)
    assert [(item.rows, item.size, item.row_cost) for item in (first, second)] == [(1, (3,), 3), (2, (4,), 4)]
    assert PADDING.stack([first.request.inputs])["input_ids"].tolist() == [[1, 4, 2]]
    assert list(second.request.inputs) == ["input_ids", "attention_mask"]


class Panic(BaseException):
    """As the bindings of Rust libraries raise."""


def test_a_text_that_breaks_the_tokenizer_fails_its_own_job_only(file: Path) -> None:
    class Fragile(LazyTokenizer):
        def encode_each(self, inputs: Sequence[Array]) -> list[dict[str, RaggedRows]]:
            if any(b"gate" in text for array in inputs for text in array):
                raise Panic("gate")
            return super().encode_each(inputs)

    fragile = Fragile(version(file, produces=("input_ids", "attention_mask")))
    first, broken, second = lane(file, fragile).read_all([text_record(each) for each in ("water", "gate", "")], NOON)
    assert isinstance(first, PendingJob)
    assert isinstance(second, PendingJob)
    assert isinstance(broken, Ended)
    assert isinstance(broken.error, InvalidInput)


def test_only_short_texts_are_read_in_the_loops_thread_and_none_before_the_tokenizer_is_loaded(file: Path) -> None:
    decoder = lane(file)
    assert decoder.inline_bytes == 0
    decoder.read_all([text_record("water")], NOON)
    assert decoder.inline_bytes == INLINE_TEXT_BYTES


def test_a_long_text_among_many_short_ones_takes_no_more_memory_than_its_tokens(file: Path) -> None:
    rows = texts(*[b"water"] * 50_000, b"water " * 600)
    (tensors,) = load(file, max_tokens=512, produces=("input_ids", "attention_mask")).encode_each([rows])
    assert {name: array.shape for name, array in tensors.items()} == dict.fromkeys(tensors, (50_001, 512))
    assert sum(array.held_bytes for array in tensors.values()) < 2 * 2**20
    assert sum(array.nbytes for array in tensors.values()) > 400_000_000


def test_of_a_text_no_more_is_read_than_could_be_kept(file: Path) -> None:
    read: list[int] = []

    class Watched:
        def encode_batch_fast(self, texts: Sequence[str]) -> list[Encoding]:
            read.extend(map(len, texts))
            return tokenizer.encode_batch_fast(texts)

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(8)
    watched = TextTokenizer(Watched(), ("input_ids",), 8)  # type: ignore[arg-type] # of it, this is used
    ids = encode(watched, texts("water " * 100_000))["input_ids"]
    assert ids.tolist() == [[1, 4, 4, 4, 4, 4, 4, 2]]
    assert read == [8 * READ_CHARACTERS_A_TOKEN]


def test_texts_that_are_tokenized_in_several_calls_come_out_in_order(file: Path) -> None:
    words = ["water" if place % 3 else "gate gate" for place in range(3 * CHUNK_TEXTS + 1)]
    ids = encode(load(file), texts(*words))["input_ids"]
    assert ids.tolist() == [[1, 4, 2, 3] if word == "water" else [1, 5, 5, 2] for word in words]


def test_a_text_with_a_token_that_the_network_does_not_have_fails_before_it_runs(file: Path) -> None:
    tokenizer = TokenizerParameters(input="text", max_tokens=8, vocab_size=6)
    small = load_tokenizer(replace(version(file), parameters=Parameters(tokenizer=tokenizer)))
    assert encode(small, texts("gate"))["input_ids"].tolist() == [[1, 5, 2]]
    with pytest.raises(JobError, match="a text has token 6, and the model has tokens 0 to 5"):
        small.encode_each([texts("größe")])


def test_reference_rows_are_texts_and_reach_the_network_as_tokens(file: Path) -> None:
    rows = ReferenceRows(inputs={"text": ["water gate", "größe"]})
    inputs = given_inputs(replace(version(file), reference_rows=rows))
    assert inputs is not None
    assert padded(inputs)["input_ids"].tolist() == [[1, 4, 5, 2], [1, 6, 2, 3]]


def test_reference_rows_with_a_token_that_the_network_lacks_are_a_mistake_of_the_model(file: Path) -> None:
    parameters = Parameters(tokenizer=TokenizerParameters(input="text", max_tokens=8, vocab_size=6))
    described = replace(version(file), parameters=parameters, reference_rows=ReferenceRows(inputs={"text": ["größe"]}))
    with pytest.raises(ConfigurationError, match="reference_rows: a text has token 6, and the model has tokens 0 to 5"):
        given_inputs(described)
