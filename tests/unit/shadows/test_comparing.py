"""When two answers are the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from schemas.signature import Signature, TensorSpec
from schemas.tensors import Array
from workers.inference.models.compare_config import CompareConfig, CompareTolerance
from workers.inference.shadows.comparing import Difference, Rule, difference, rule_of

NAN, INF = float("nan"), float("inf")
LABELS = ("cat", "dog", "eel")
EXACT = Rule(0.0, 0.0)
INPUTS = (TensorSpec("x", "FP32", (-1, 1)),)

shapes = st.shared(arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=3), key="shape")
kinds = st.sampled_from(["<f2", "<f4", "<f8", "<i4", "<u8", "?"])
numbers = kinds.flatmap(lambda kind: arrays.arrays(kind, shapes))
texts = shapes.flatmap(lambda shape: arrays.arrays(object, shape, elements=st.sampled_from(["a", b"a", "b", b"\xff"])))
outputs = numbers | texts


def found(rule: Rule, ours: Any, theirs: Any, dtype: Any = None) -> Difference | None:
    return difference(rule, {"y": np.array(ours, dtype=dtype)}, {"y": np.array(theirs, dtype=dtype)})


@given(outputs, outputs, st.sampled_from([Rule(), EXACT, Rule(label="y")]))
def test_it_does_not_matter_which_answer_is_which(ours: Array, theirs: Array, rule: Rule) -> None:
    there, back = difference(rule, {"y": ours}, {"y": theirs}), difference(rule, {"y": theirs}, {"y": ours})
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (there.why, there.rows, there.largest_difference) == (back.why, back.rows, back.largest_difference)
        assert (there.answered, there.shadowed) == (back.shadowed, back.answered)


@given(outputs, st.sampled_from([Rule(), EXACT, Rule(label="y")]))
def test_every_answer_is_the_same_as_itself(answer: Array, rule: Rule) -> None:
    assert difference(rule, {"y": answer}, {"y": answer.copy()}) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        ([1.0], [1.0001], True),
        ([0.0], [0.0001], True),
        ([0.0], [0.00011], False),
        ([1000.0], [1001.0], True),
        ([1000.0], [1002.0], False),
        ([-1.0], [1.0], False),
        ([NAN], [NAN], True),
        ([NAN], [1.0], False),
        ([INF], [INF], True),
        ([INF], [-INF], False),
        ([INF], [1e300], False),
        ([], [], True),
        ([[], []], [[], []], True),
        ([3], [3], True),
        ([1_000_000], [1_000_001], False),
        ([True], [True], True),
        ([True], [False], False),
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        ([2**64 - 1], [2**64 - 2], False),
    ],
)
def test_floats_may_differ_a_little_and_nothing_else(ours: Any, theirs: Any, alike: bool) -> None:
    assert (found(Rule(), ours, theirs) is None) == alike


def test_text_is_the_same_as_its_bytes() -> None:
    assert found(Rule(), ["é"], ["é".encode()], object) is None


def test_numbers_are_no_texts() -> None:
    assert difference(Rule(), {"y": np.array(["1"])}, {"y": np.array([1])}) is not None


def test_of_several_rows_all_that_differ_are_counted_and_the_first_is_told() -> None:
    told = found(Rule(), [[0.5, 1.0], [0.5, 2.0], [0.0, 3.0]], [[0.5, 1.0], [0.5, 7.0], [0.5, 3.0]])
    assert told == Difference("value", "y", 2, 5.0, "2.0", "7.0")


def test_what_is_no_number_makes_no_largest_difference() -> None:
    told = found(Rule(), [NAN, 1.0], [1.0, 3.0])
    assert told is not None
    assert (told.rows, told.largest_difference) == (2, 2.0)
    told = found(Rule(), [NAN], [1.0])
    assert told is not None
    assert told.largest_difference is None


def test_other_shapes_and_outputs_that_are_missing_disagree() -> None:
    assert found(Rule(), [1.0], [[1.0]]) == Difference("shape", "y", 0, None, "[1]", "[1, 1]")
    one = np.array([1.0])
    assert difference(Rule(), {"y": one, "z": one}, {"y": one}) == Difference("missing", "z")
    assert difference(Rule(), {"y": one}, {"y": one, "z": one}) is None, "what is new harms nobody"


def test_a_class_that_the_answer_does_not_say_cannot_be_compared() -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="'y'"):
        difference(Rule(label="y"), {"z": one}, {"z": one, "y": one})


def test_the_output_that_differs_in_most_rows_is_told() -> None:
    ours = {"a": np.array([1, 2, 3]), "b": np.array([1, 2, 3])}
    theirs = {"a": np.array([1, 2, 4]), "b": np.array([0, 0, 3])}
    told = difference(Rule(), ours, theirs)
    assert told is not None
    assert (told.output, told.rows) == ("b", 2)


def test_classes_are_compared_by_the_highest_score_and_told_by_name() -> None:
    rule = Rule(label="y", labels=LABELS)
    assert found(rule, [[0.5, 0.3, 0.2]], [[0.9, 0.1, 0.0]]) is None
    assert found(rule, [[0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8]]) == Difference("label", "y", 1, None, "cat", "eel")
    assert found(rule, [0, 1], [0, 2]) == Difference("label", "y", 1, None, "dog", "eel")
    assert found(rule, [7], [8]) == Difference("label", "y", 1, None, "7", "8"), "a class without a name"


def test_a_single_score_a_row_says_no_class_and_is_compared_as_a_number() -> None:
    rule = Rule(label="y")
    assert found(rule, [[0.1], [0.7]], [[0.1], [0.7]]) is None
    assert found(rule, [[0.1], [0.7]], [[0.9], [0.7]]) == Difference("label", "y", 1, None, "0.1", "0.9")


def test_of_a_text_only_a_digest_is_told() -> None:
    told = found(Rule(), ["secret" * 1000], [b"\0"], object)
    assert told is not None
    assert (len(told.answered), told.shadowed) == (19, "sha256:6e340b9cffb3")


def test_a_function_of_the_models_own_says_whether_answers_agree() -> None:
    rule = Rule(function=lambda ours, theirs: ours["y"].sum() == theirs["y"].sum())
    assert found(rule, [1, 3], [2, 2]) is None
    assert found(rule, [1, 3], [2, 3]) == Difference("function")


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (None, Rule(label="scores", labels=LABELS)),
        (CompareConfig(tolerance=CompareTolerance(absolute=0.5)), Rule(0.5, 1e-3)),
        (CompareConfig(label="other"), Rule(label="other")),
    ],
)
def test_model_yaml_says_how_and_labels_count_where_it_does_not(config: CompareConfig | None, rule: Rule) -> None:
    signature = Signature(
        INPUTS, (TensorSpec("other", "FP32", (-1, 2)), TensorSpec("scores", "FP32", (-1, 3), labels=LABELS))
    )
    assert rule_of(config, signature) == rule
    assert rule_of(None, Signature(INPUTS, signature.outputs[:1])) == Rule()
