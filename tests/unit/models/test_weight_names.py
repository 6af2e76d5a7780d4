"""What is told of weights that do not fit, so that the next try can be the right one."""

from fnmatch import fnmatchcase

from workers.inference.backends.architectures.weight_names import misfit_of, patterns_of, prefix_of


def test_weights_that_are_left_over_come_with_the_line_that_leaves_them_out() -> None:
    left = ["embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight"]
    told = misfit_of([], left, [*left, "embeddings.word_embeddings.weight"])
    assert told == (
        'Unexpected key(s) in state_dict: "embeddings.position_ids", "pooler.dense.bias", "pooler.dense.weight"; '
        "this line under parameters.torch leaves them out, if they are not needed: "
        'unused_weights: ["embeddings.position_ids", "pooler.*"]'
    )


def test_patterns_meet_the_names_and_nothing_that_is_used() -> None:
    used = ["layers.0.weight", "head.1.weight", "plain"]
    names = ["layers.1.weight", "layers.1.bias", "head.0.weight", "other", "head.10.weight", "head.1.extra"]
    patterns = patterns_of(names, used)
    assert patterns == ["layers.1.*", "head.0.*", "other", "head.10.*", "head.1.extra"]
    assert not [name for name in used for pattern in patterns if fnmatchcase(name, pattern)]


def test_weights_that_are_missing_come_with_how_names_are_expected() -> None:
    lost = ["layers.0.weight", "layers.0.bias"]
    told = misfit_of(lost, ["net.0.weight"], ["net.0.weight"])
    assert 'Missing key(s) in state_dict: "layers.0.weight", "layers.0.bias"; Unexpected key(s)' in told
    assert told.endswith('the file has to carry the architecture\'s own names (docs/pytorch.md, "Names of weights")')
    assert "unused_weights" not in told


def test_a_prefix_before_all_names_is_seen() -> None:
    file = ["bert.encoder.weight", "bert.encoder.bias", "classifier.bias"]
    assert prefix_of(["encoder.weight", "encoder.bias"], file) == "bert."
    assert prefix_of(["encoder.weight", "pooler.bias"], file) is None
    assert misfit_of(["encoder.weight"], ["bert.encoder.weight"], file).endswith('has all of them behind "bert."')


def test_few_names_of_many_are_told() -> None:
    told = misfit_of([f"layers.{index}.weight" for index in range(100)], [], [])
    assert '"layers.3.weight" and 96 more; the file' in told
    assert len(told) < 300
