"""What a scan of the model repository finds, in which order, and what it says of models that cannot be served."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from schemas.errors import ConfigurationError
from schemas.signature import ImageSpec, Signature, TensorSpec
from tests.unit.models.repositories import fields, installed, why_not, write_model
from tests.unit.models.snapshots import found
from workers.inference.models.repository import ModelRepository, natural_order
from workers.inference.models.snapshot import Found, Snapshot, files_under, mark, weight_bytes

ONNX_ONLY = installed("onnxruntime")
NOBODY: Final = 65534


def names(root: Path, *patterns: str) -> list[str]:
    return [version.name for version in ModelRepository(root, ONNX_ONLY).scan(patterns)]


def default_of(root: Path) -> list[str]:
    return [version.name for version in ModelRepository(root, ONNX_ONLY).scan() if version.is_default]


def test_model_yaml_becomes_a_model_version_with_its_signature(tmp_path: Path) -> None:
    model = write_model(
        tmp_path,
        fields(
            description="Digits",
            metrics={"test_accuracy": 0.97},
            output=[
                {"name": "label", "data_type": "TYPE_INT64", "dims": [], "label_filename": "labels.txt"},
                {"name": "scores", "data_type": "TYPE_FP32", "dims": [2], "label_filename": "labels.txt"},
            ],
            dynamic_batching={"max_queue_delay_microseconds": 1500, "latency_target_microseconds": 50_000},
            model_warmup=[{"batch_size": 1}, {"batch_size": 64, "length": 9}],
            parameters={"onnxruntime": {"intra_op_threads": 2}},
            image={"width": 8, "height": 8, "mode": "L", "layout": "HW", "scale": 0.5, "invert": "auto"},
        ),
    )
    (model / "labels.txt").write_text("even\nodd\n")

    (version,) = ModelRepository(tmp_path, ONNX_ONLY).scan()

    assert (version.model, version.version, version.name) == ("digits", "1", "digits/1")
    assert (version.directory, version.file) == (model / "1", model / "1" / "model.onnx")
    assert version.platform == "onnxruntime_onnx"
    assert (version.max_batch_size, version.max_wait_s) == (64, 0.0015)
    assert (version.adaptive, version.latency_target_s) == (True, 0.05)
    assert [(each.batch_size, each.length) for each in version.warmups or ()] == [(1, 1), (64, 9)]
    assert version.parameters.onnxruntime.intra_op_threads == 2
    assert (version.description, version.metrics, version.is_default) == ("Digits", {"test_accuracy": 0.97}, True)
    assert version.signature == Signature(
        inputs=(TensorSpec("image", "FP32", (-1, 8, 8)),),
        outputs=(
            TensorSpec("label", "INT64", (-1,), labels=("even", "odd")),
            TensorSpec("scores", "FP32", (-1, 2), labels=("even", "odd")),
        ),
        image=ImageSpec("image", 8, 8, mode="L", layout="HW", scale=0.5, invert="auto"),
    )


@pytest.mark.parametrize(
    ("data_type", "image", "scale", "offset"),
    [
        ("TYPE_UINT8", {}, 1.0, 0.0),
        ("TYPE_INT64", {}, 1.0, 0.0),
        ("TYPE_INT8", {"offset": -128.0}, 1.0, -128.0),
        ("TYPE_FP16", {}, 1 / 255, 0.0),
    ],
)
def test_pixels_keep_their_values_for_an_input_of_integers_and_are_fractions_for_others(
    tmp_path: Path, data_type: str, image: dict[str, float], scale: float, offset: float
) -> None:
    given = [{"name": "image", "data_type": data_type, "dims": [8, 8]}]
    write_model(tmp_path, fields(input=given, image={"width": 8, "height": 8, "mode": "L", "layout": "HW", **image}))
    (version,) = ModelRepository(tmp_path, ONNX_ONLY).scan()
    assert version.signature.image is not None
    assert (version.signature.image.scale, version.signature.image.offset) == (scale, offset)


def test_types_may_be_written_as_the_protocol_writes_them(tmp_path: Path) -> None:
    given = [{"name": "x", "data_type": "FP32", "dims": []}, {"name": "y", "data_type": "BYTES", "dims": []}]
    write_model(tmp_path, fields(input=given, output=[{"name": "z", "data_type": "INT64", "dims": []}]))
    (version,) = ModelRepository(tmp_path, ONNX_ONLY).scan()
    tensors = (*version.signature.inputs, *version.signature.outputs)
    assert [spec.datatype for spec in tensors] == ["FP32", "BYTES", "INT64"]


def test_features_and_variable_dimensions_reach_the_signature(tmp_path: Path) -> None:
    write_model(
        tmp_path,
        fields(
            name="iris",
            input=[{"name": "x", "data_type": "TYPE_FP32", "dims": [2], "allow_nan": True}],
            output=[{"name": "series", "data_type": "TYPE_FP64", "dims": [-1, 3]}],
            features=["length", "width"],
        ),
        name="iris",
    )
    (version,) = ModelRepository(tmp_path, ONNX_ONLY).scan()
    assert version.signature.inputs == (TensorSpec("x", "FP32", (-1, 2), allow_nan=True),)
    assert version.signature.outputs == (TensorSpec("series", "FP64", (-1, -1, 3)),)
    assert version.signature.features == ("length", "width")
    assert version.max_wait_s == 0.0


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["*"], ["digits/1", "digits/2", "text-a/1", "text-b/1"]),
        (["digits"], ["digits/1", "digits/2"]),
        (["digits/*"], ["digits/1", "digits/2"]),
        (["digits/2"], ["digits/2"]),
        (["text-*"], ["text-a/1", "text-b/1"]),
        (["text-?/1", "digits/1"], ["digits/1", "text-a/1", "text-b/1"]),
        (["digits", "digits/2"], ["digits/1", "digits/2"]),
    ],
)
def test_patterns_choose_models_and_versions(tmp_path: Path, patterns: list[str], found: list[str]) -> None:
    write_model(tmp_path, versions=("1", "2"))
    write_model(tmp_path, name="text-a")
    write_model(tmp_path, name="text-b")
    (tmp_path / "no-model").mkdir()
    assert names(tmp_path, *patterns) == found


@pytest.mark.parametrize(
    ("pattern", "hint"), [("letters", ""), ("digits/3", ": is digits/1 meant?"), ("x*", ""), ("digits/v*", "")]
)
def test_a_pattern_that_finds_nothing_is_an_error(tmp_path: Path, pattern: str, hint: str) -> None:
    write_model(tmp_path)
    assert why_not(tmp_path, pattern) == f"no model in {tmp_path} matches {pattern!r}{hint}"


def test_a_repository_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert (
        why_not(tmp_path / "gone") == f"model repository {tmp_path / 'gone'}: cannot be read: No such file or directory"
    )


def test_versions_come_in_natural_order_and_the_last_is_the_default(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("10", "9", "1.10", "1.9", "2-rc1"))
    assert names(tmp_path, "*") == [f"digits/{version}" for version in ("1.9", "1.10", "2-rc1", "9", "10")]
    assert default_of(tmp_path) == ["digits/10"]


def test_versions_that_differ_only_in_writing_still_have_one_order() -> None:
    assert sorted(["01", "1", "1.0", "1-0"], key=natural_order) == ["01", "1", "1-0", "1.0"]


def test_the_default_version_can_be_named(tmp_path: Path) -> None:
    write_model(tmp_path, fields(default_version="1"), versions=("1", "2"))
    assert default_of(tmp_path) == ["digits/1"]


def test_a_default_that_cannot_be_served_is_not_replaced_by_another_version(tmp_path: Path) -> None:
    """Workers must agree on the default, also where only some of them can serve it."""
    model = write_model(tmp_path, versions=("1", "2"))
    (model / "2" / "model.onnx").unlink()
    assert names(tmp_path, "*") == ["digits/1"]
    assert default_of(tmp_path) == []


def test_directories_that_are_no_versions_are_passed_over(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    for name in (".git", "__pycache__", "Notes"):
        (model / name).mkdir()
    assert names(tmp_path, "*") == ["digits/1"]


def test_a_model_without_versions_says_what_one_would_be(tmp_path: Path) -> None:
    model = write_model(tmp_path, versions=())
    assert why_not(tmp_path) == f"{model}: has no version; {model / '1'} would be one"


class TestProblems:
    """`good` can be served, `broken` has an unknown key, and of `half` version 2 has no weights."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write_model(tmp_path, name="good")
        write_model(tmp_path, fields(name="broken", colour="red"), name="broken", versions=("1", "2"))
        half = write_model(tmp_path, name="half", versions=("1", "2"))
        (half / "2" / "model.onnx").unlink()
        return tmp_path

    def test_a_wildcard_serves_the_sound_ones_and_logs_the_others(self, root: Path) -> None:
        with capture_logs() as logs:
            assert names(root, "*") == ["good/1", "half/1"]
        assert [(entry["model"], entry["version"]) for entry in logs] == [
            ("broken", "1"),
            ("broken", "2"),
            ("half", "2"),
        ]
        assert all(entry["event"] == "model left out" and entry["log_level"] == "error" for entry in logs)
        assert "colour: unknown key" in logs[0]["reason"]
        assert "onnxruntime_onnx needs the file model.onnx" in logs[2]["reason"]

    def test_problems_can_be_had_as_values(self, root: Path) -> None:
        survey = ModelRepository(root, ONNX_ONLY).survey()
        assert [problem.name for problem in survey.problems] == ["broken/1", "broken/2", "half/2"]

    @pytest.mark.parametrize("pattern", ["broken", "broken/1", "half", "half/2"])
    def test_a_model_asked_for_by_name_must_be_sound(self, root: Path, pattern: str) -> None:
        assert ("colour" if "broken" in pattern else "model.onnx") in why_not(root, pattern)

    def test_a_sound_version_of_a_half_sound_model_can_be_asked_for(self, root: Path) -> None:
        assert names(root, "half/1") == ["half/1"]

    def test_a_wildcard_that_meets_only_problems_tells_each_once(self, root: Path) -> None:
        assert why_not(root, "brok*") == f"{root / 'broken' / 'model.yaml'}: colour: unknown key"

    def test_models_that_no_pattern_means_are_not_even_read(self, root: Path) -> None:
        with capture_logs() as logs:
            assert names(root, "g*") == ["good/1"]
        assert logs == []

    def test_a_model_whose_yaml_cannot_be_read_is_a_problem_of_all_its_versions(self, root: Path) -> None:
        (root / "broken" / "model.yaml").write_text("name: [")
        (problem,) = (p for p in ModelRepository(root, ONNX_ONLY).survey().problems if p.model == "broken")
        assert (problem.name, problem.version) == ("broken", None)
        assert "line 1" in why_not(root, "broken/1")


def test_a_look_finds_versions_with_their_files_and_what_is_wrong_with_others(tmp_path: Path) -> None:
    write_model(tmp_path, versions=("1", "2"))
    (tmp_path / "digits" / "1" / "model.onnx").write_bytes(b"12345")
    (tmp_path / "digits" / "1" / "__pycache__").mkdir()
    (tmp_path / "digits" / "1" / "__pycache__" / "handler.pyc").write_bytes(b"no part of the model")
    (tmp_path / "digits" / "2" / "model.onnx").unlink()

    look = ModelRepository(tmp_path, ONNX_ONLY).look(["digits"])

    assert {name: found.size_bytes for name, found in look.found.items()} == {"digits/1": 5}
    assert "model.onnx" in look.problems["digits/2"]
    assert look.there == {"digits/1", "digits/2"}


@pytest.mark.parametrize(
    ("platform", "weights"),
    [
        ("onnxruntime_onnx", {"model.onnx", "model.onnx.data", "more/part.bin"}),
        ("pytorch_safetensors", {"model.safetensors", "model.onnx.data", "more/part.bin"}),
        ("python_handler", {"handler.py", "model.onnx", "model.safetensors", "model.onnx.data", "more/part.bin"}),
    ],
)
def test_weights_count_in_whatever_files_they_lie(tmp_path: Path, platform: str, weights: set[str]) -> None:
    sizes = {"model.onnx": 1, "model.onnx.data": 10, "more/part.bin": 100, "model.safetensors": 1_000}
    sizes |= {"handler.py": 10_000, "tokenizer.json": 100_000}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    file = {"python_handler": "handler.py", "pytorch_safetensors": "model.safetensors"}.get(platform, "model.onnx")
    version = found(
        directory=tmp_path, platform=platform, file=tmp_path / file, tokenizer_file=tmp_path / "tokenizer.json"
    ).version

    assert weight_bytes(version) == sum(sizes[name] for name in weights)
    in_memory = Found(version, files_under(tmp_path), mark(tmp_path / "tokenizer.json"))
    assert in_memory.size_bytes == weight_bytes(version) + sizes["tokenizer.json"]


def test_the_marks_change_with_every_file_that_a_look_depends_on(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    repository = ModelRepository(tmp_path, ONNX_ONLY)
    for path in (model / "model.yaml", model / "labels.txt", model / "1" / "model.onnx", model / "2" / "new.onnx"):
        before = repository.marks()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"changed")
        assert repository.marks() != before


def test_a_look_at_patterns_that_find_nothing_finds_nothing(tmp_path: Path) -> None:
    write_model(tmp_path)
    assert ModelRepository(tmp_path, ONNX_ONLY).look(["other"]) == Snapshot({}, {}, frozenset())
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ModelRepository(tmp_path / "gone", ONNX_ONLY).look()


@contextmanager
def as_anybody() -> Iterator[None]:
    """Without the rights of the superuser, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestWhatCannotBeRead:
    """`good` can be read, and of `bad` there is something that this user may not."""

    @pytest.fixture
    def root(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)
            write_model(Path(directory), name="good")
            write_model(Path(directory), name="bad", versions=("1", "2"))
            yield Path(directory)

    @pytest.mark.parametrize(
        ("closed", "mode", "problem", "there"),
        [
            ("bad", 0o000, "bad", set()),
            ("bad", 0o444, "bad", {"bad/1", "bad/2"}),  # its names can be seen, and nothing behind them
            ("bad/model.yaml", 0o000, "bad", {"bad/1", "bad/2"}),
            ("bad/2", 0o000, "bad/2", {"bad/1", "bad/2"}),
            ("bad/2", 0o444, "bad/2", {"bad/1", "bad/2"}),
            ("bad/2/model.onnx", 0o000, None, {"bad/1", "bad/2"}),  # it is told when it is loaded
        ],
    )
    def test_is_a_problem_of_its_model_or_version_alone(
        self, root: Path, closed: str, mode: int, problem: str | None, there: set[str]
    ) -> None:
        everything = ModelRepository(root, ONNX_ONLY).look()
        (root / closed).chmod(mode)
        repository = ModelRepository(root, ONNX_ONLY)
        with as_anybody():
            look = repository.look()
            repository.marks()
            served = {version.name for version in repository.scan()}
        assert set(look.problems) == ({problem} if problem else set())
        assert all("cannot be read: Permission denied" in told for told in look.problems.values())
        assert "good/1" in served
        assert look.there == {"good/1", *there}
        assert not any(look.is_gone(found.version) for found in everything.found.values())

    def test_folders_that_can_be_no_model_are_passed_over(self, root: Path) -> None:
        (root / "lost+found").mkdir(mode=0o000)
        with as_anybody():
            assert ModelRepository(root, ONNX_ONLY).look().problems == {}

    @pytest.mark.parametrize("filename", ["x" * 300, "nul\0", "loop", "\ud800"])
    def test_a_file_name_that_no_file_can_have_is_a_problem_of_its_version(self, root: Path, filename: str) -> None:
        output = {"name": "label", "data_type": "TYPE_INT64", "dims": [], "label_filename": filename}
        write_model(root, fields(name="bad", output=[output]), name="bad")
        (root / "bad" / "1" / "loop").symlink_to("loop")
        look = ModelRepository(root, ONNX_ONLY).look()
        assert set(look.found) == {"good/1"}
        assert "bad/1" in look.problems or "bad" in look.problems

    def test_links_in_a_circle_are_a_problem_of_what_they_stand_for(self, root: Path) -> None:
        (root / "bad" / "2" / "model.onnx").unlink()
        (root / "bad" / "2" / "model.onnx").symlink_to("model.onnx")
        (root / "circle").symlink_to("circle")
        assert set(ModelRepository(root, ONNX_ONLY).look().problems) == {"bad/2", "circle"}


@pytest.mark.parametrize(
    ("image", "spec"),
    [
        ({}, ImageSpec("image", 8, 8)),
        ({"scale": [1, 2, 3]}, ImageSpec("image", 8, 8, scale=(1.0, 2.0, 3.0), offset=(0.0, 0.0, 0.0))),
        (
            {"scale": 0.5, "mean": [1, 2, 3], "std": 2},
            ImageSpec("image", 8, 8, scale=(0.25, 0.25, 0.25), offset=(-0.5, -1.0, -1.5)),
        ),
        ({"scale": 1, "std": 4}, ImageSpec("image", 8, 8, scale=(0.25, 0.25, 0.25), offset=(0.0, 0.0, 0.0))),
        (
            {"scale": 1, "crop": "center"},
            ImageSpec("image", 8, 8, scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), shorter_side=8),
        ),
        (
            {"scale": 1, "crop": "center", "resize": 10},
            ImageSpec("image", 8, 8, scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), shorter_side=10),
        ),
    ],
)
def test_mean_and_std_become_a_scale_and_an_offset(tmp_path: Path, image: dict[str, object], spec: ImageSpec) -> None:
    given = [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 8, 8]}]
    write_model(tmp_path, fields(input=given, image={"width": 8, "height": 8, **image}))
    (version,) = ModelRepository(tmp_path, ONNX_ONLY).scan()
    assert version.signature.image == spec
