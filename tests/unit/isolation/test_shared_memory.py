"""Shared memory for tensors, both ends in one process."""

import fcntl
import os
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from schemas.tensors import DTYPES, Array
from workers.inference.backends.isolated.shared_memory import Place, Segment, nameless_memory


def ends() -> tuple[Segment, Segment]:
    """Who writes, and who reads."""
    memory = nameless_memory("test")
    return Segment(memory), Segment(os.dup(memory))


def handed_over(*batches: dict[str, Array]) -> list[dict[str, Array]]:
    writer, reader = ends()
    try:
        return [{name: array.copy() for name, array in reader.get(writer.put(batch)).items()} for batch in batches]
    finally:
        writer.close()
        reader.close()


NUMBERS = [dtype for dtype in DTYPES.values() if dtype.kind != "O"]
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
TENSORS = st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)) | hnp.arrays(
    object, SHAPES, elements=st.binary(max_size=20) | st.text(max_size=20)
)


@given(st.lists(st.dictionaries(st.text(max_size=5), TENSORS, max_size=4), min_size=1, max_size=3))
def test_every_tensor_arrives_as_it_was(batches: list[dict[str, Array]]) -> None:
    for sent, arrived in zip(batches, handed_over(*batches), strict=True):
        assert list(arrived) == list(sent)
        for name, tensor in sent.items():
            assert (arrived[name].dtype, arrived[name].shape) == (tensor.dtype, tensor.shape)
            assert arrived[name].tolist() == tensor.tolist() or np.array_equal(arrived[name], tensor, equal_nan=True)


def test_tensors_that_are_not_contiguous_arrive_in_order() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]
    (arrived,) = handed_over({"x": tensor})
    np.testing.assert_array_equal(arrived["x"], tensor)


def test_texts_stay_texts_and_bytes_stay_bytes() -> None:
    texts = np.array(["é", b"\xff", ""], dtype=object)
    (arrived,) = handed_over({"text": texts})
    assert arrived["text"].tolist() == ["é", b"\xff", ""]


def test_it_grows_and_stays_so() -> None:
    writer, reader = ends()
    sizes = []
    for rows in (1, 1_000_000, 10):
        places = writer.put({"x": np.full(rows, rows, np.int64)})
        assert reader.get(places)["x"].sum() == rows * rows
        sizes.append(os.fstat(writer.memory).st_size)
    assert sizes[0] < sizes[1] == sizes[2]


def test_views_of_before_it_grew_can_still_be_read() -> None:
    writer, reader = ends()
    held = reader.get(writer.put({"x": np.ones(4)}))["x"]
    reader.get(writer.put({"x": np.zeros(1_000_000)}))
    writer.close()
    reader.close()
    assert held.shape == (4,)
    assert not held.any()  # of what stands there now


@pytest.mark.parametrize(
    "place",
    [
        Place("x", "<f4", (1_000_000,), 0, 4_000_000),
        Place("x", "<f4", (4,), 1_000_000, 16),
        Place("x", "nonsense", (4,), 0, 16),
        Place("x", "|O", (4,), 0, 16),
        Place("x", "|O", (4,), 0, 1_000_000),
    ],
)
def test_places_that_cannot_be_are_refused(place: Place) -> None:
    writer, reader = ends()
    writer.put({"x": np.ones(4)})
    with pytest.raises((ValueError, TypeError)):
        reader.get([place])


def test_what_the_other_end_holds_cannot_be_cut_off() -> None:
    memory = nameless_memory("test")
    os.ftruncate(memory, 8192)
    assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    os.close(memory)


def test_it_has_no_name() -> None:
    before = set(Path("/dev/shm").iterdir())  # noqa: S108 - looked at, not written to
    segment = Segment(nameless_memory("test"))
    segment.put({"x": np.ones(1000)})
    assert not {path for path in set(Path("/dev/shm").iterdir()) - before if "PostgreSQL" not in path.name}  # noqa: S108
    segment.close()
