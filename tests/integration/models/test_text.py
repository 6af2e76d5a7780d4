"""Texts become padded token ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigurationError, JobError
from schemas.tensors import Array
from tests.integration.models.needs import need
from workers.inference.model_parameters import TokenTensor

need("tokenizers")

from tokenizers import Tokenizer  # noqa: E402 - after the check above
from tokenizers.models import WordLevel  # noqa: E402
from tokenizers.pre_tokenizers import Whitespace  # noqa: E402
from tokenizers.processors import TemplateProcessing  # noqa: E402

from workers.inference.text import TextTokenizer, load_tokenizer  # noqa: E402

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


def load(file: Path, max_tokens: int = 8, produces: Sequence[TokenTensor] = ("input_ids",)) -> TextTokenizer:
    return load_tokenizer(file, max_tokens, produces)


def texts(*rows: str | bytes) -> Array:
    return np.array(rows, dtype=object)


def test_rows_are_padded_to_the_longest_of_them(file: Path) -> None:
    ids = load(file).encode(texts("water", "water gate water", ""))["input_ids"]
    assert ids.tolist() == [[1, 4, 2, 3, 3], [1, 4, 5, 4, 2], [1, 2, 3, 3, 3]]
    assert ids.dtype == np.int64


def test_the_mask_is_one_where_tokens_stand_and_all_three_tensors_have_one_shape(file: Path) -> None:
    tensors = load(file, produces=("attention_mask", "token_type_ids", "input_ids")).encode(texts("water", "gate gate"))
    assert tensors["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert tensors["token_type_ids"].tolist() == [[0] * 4] * 2
    assert {name: array.dtype for name, array in tensors.items()} == dict.fromkeys(tensors, np.dtype(np.int64))
    assert list(tensors) == ["attention_mask", "token_type_ids", "input_ids"]


def test_long_texts_are_cut_and_keep_their_special_tokens(file: Path) -> None:
    ids = load(file, max_tokens=4).encode(texts("water gate water gate water"))["input_ids"]
    assert ids.tolist() == [[1, 4, 5, 2]]


def test_bytes_are_read_as_utf8(file: Path) -> None:
    tokenizer = load(file)
    as_bytes = tokenizer.encode(texts("größe".encode(), b"unknown"))["input_ids"]
    np.testing.assert_array_equal(as_bytes, tokenizer.encode(texts("größe", "unknown"))["input_ids"])
    assert as_bytes.tolist() == [[1, 6, 2], [1, 0, 2]]


def test_bytes_that_are_no_utf8_fail_the_job(file: Path) -> None:
    with pytest.raises(JobError, match="a text is not UTF-8: byte 3 of it cannot be read"):
        load(file).encode(texts(b"wat\xff"))


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json: is not a tokenizer: "):
        load(tmp_path / "tokenizer.json")
