"""Code runs only where the model says so, the file is the one that was pinned, and the worker may."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from tests.unit.models.handlers import digest, scan, write_handler
from tests.unit.models.repositories import Fields, fields, installed, why_not, write_model
from workers.inference.backends import load_backend
from workers.inference.backends.verified_copy import VerifiedCopy
from workers.inference.models.repository import ModelRepository

# Leaves a trace as soon as it is run.
TRAP = """
    from pathlib import Path
    (Path({traces!r}) / "ran").touch()
    class Handler:
        def predict(self, inputs):
            return {{"sum": inputs["values"].sum(axis=1)}}
"""


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def trap(traces: Path) -> str:
    return TRAP.format(traces=str(traces))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def ran(traces: Path) -> bool:
    return (traces / "ran").exists()


def refused(root: Path, name: str = "sums") -> str:
    """Why a worker that may run code does not serve the model. Told in one line."""
    with pytest.raises(ConfigurationError) as caught:
        load_backend(scan(root, name), "cpu")
    assert "\n" not in caught.value.message
    return caught.value.message


class TestWhoMustAgree:
    def test_model_and_worker_together_run_code(self, root: Path, trap: str, traces: Path) -> None:
        write_handler(root, {"handler.py": trap})
        load_backend(scan(root), "cpu").close()
        assert ran(traces)

    def test_the_models_word_alone_does_not(self, root: Path, trap: str, traces: Path) -> None:
        directory = write_handler(root, {"handler.py": trap})
        assert why_not(root, "sums") == (
            f"{directory}: cannot be run: python_handler runs the model's own code, and this worker may not: "
            "if you trust whoever wrote it, start with PENSTOCK_WORKER_TRUST=code, or `penstock up --trust code`"
        )
        assert not ran(traces)

    def test_the_workers_word_alone_does_not(self, root: Path, trap: str, traces: Path) -> None:
        write_handler(root, {"handler.py": trap}, trust="data")
        assert "trust: must be code, since python_handler runs code that the model brings" in refused(root)
        assert not ran(traces)

    def test_neither_does_code_without_a_pin(self, root: Path, trap: str, traces: Path) -> None:
        write_handler(root, {"handler.py": trap}, sha256={})
        assert "sha256: must pin handler.py, which python_handler runs (`penstock models pin` writes" in refused(root)
        assert not ran(traces)

    def test_a_worker_without_trust_takes_the_next_platform_that_is_data(self, root: Path) -> None:
        content = fields(platform=["torch_export", "onnxruntime_onnx"], trust="code", sha256={"model.pt2": digest("")})
        model = write_model(root, content)
        (model / "1" / "model.pt2").touch()
        modules = installed("torch", "onnxruntime")
        (careful,) = ModelRepository(root, modules).scan()
        (trusting,) = ModelRepository(root, modules, trust="code").scan()
        assert careful.platform == "onnxruntime_onnx"
        assert trusting.platform == "torch_export"

    def test_code_that_no_platform_of_the_model_runs_is_left_alone(self, root: Path, trap: str, traces: Path) -> None:
        model = write_model(root)
        (model / "1" / "handler.py").write_text(trap)
        (version,) = ModelRepository(root, installed("onnxruntime")).scan()
        assert version.platform == "onnxruntime_onnx"
        assert not ran(traces)


class TestPins:
    def test_a_changed_byte_is_told_with_both_digests(self, root: Path, trap: str, traces: Path) -> None:
        directory = write_handler(root, {"handler.py": trap})
        pinned = scan(root).pins[0].sha256
        file = directory / "handler.py"
        changed = file.read_bytes().replace(b"ran", b"run")
        file.write_bytes(changed)
        message = refused(root)
        assert f"{file}: is not the file that model.yaml pins: sha256 'handler.py' is {pinned[:12]}..." in message
        assert f"and the file's {hashlib.sha256(changed).hexdigest()[:12]}..." in message
        assert "`penstock models pin`" in message
        assert not ran(traces)
        assert not (traces / "run").exists()

    def test_every_file_that_differs_is_told(self, root: Path, trap: str, traces: Path) -> None:
        pins = {"handler.py": digest("other"), "words.txt": digest("other")}
        write_handler(root, {"handler.py": trap, "words.txt": "a"}, sha256=pins)
        message = refused(root)
        assert "handler.py: is not the file" in message
        assert "words.txt: is not the file" in message
        assert not ran(traces)

    def test_a_pin_for_a_file_that_is_nowhere_is_told(self, root: Path, trap: str) -> None:
        write_handler(
            root,
            {"handler.py": "", "here.txt": ""},
            sha256={"handler.py": digest(""), "lost.txt": digest(""), "gone.txt": digest("")},
        )
        message = refused(root)
        assert message.startswith(f"{root / 'sums' / 'model.yaml'}: sha256: ")
        assert "the file 'lost.txt' is neither there nor beside model.yaml" in message
        assert "the file 'gone.txt' is neither there nor beside model.yaml" in message

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"sha256": {"handler.py": "abc"}},
                "sha256.handler.py: must be the file's SHA-256 in 64 hexadecimal digits",
            ),
            ({"sha256": {"handler.py": 12}}, "sha256.handler.py: must be the file's SHA-256 in 64 hexadecimal digits"),
            (
                {"sha256": {"../x.py": "a" * 64}},
                "sha256: '../x.py' must be a plain path within the version's directory",
            ),
            ({"sha256": {"/etc/x": "a" * 64}}, "sha256: '/etc/x' must be a plain path within the version's directory"),
            ({"sha256": {"./x.py": "a" * 64}}, "sha256: './x.py' must be a plain path within the version's directory"),
            ({"trust": "all"}, "trust: input should be 'data' or 'code'"),
            ({"platform": "sklearn_joblib"}, "sha256: must pin model.joblib, which sklearn_joblib runs"),
            (
                {"platform": "huggingface_endpoint"},
                "output: an EndpointHandler's answer as JSON text is a single output",
            ),
            (
                {"parameters": {"sklearn": {"methods": {"other": "predict"}}}},
                "parameters.sklearn.methods: 'other' is not among the outputs",
            ),
        ],
    )
    def test_mistakes_in_model_yaml_are_told_with_field_and_rule(self, root: Path, changes: Fields, told: str) -> None:
        write_handler(root, {"handler.py": ""}, **changes)
        assert told in refused(root)

    def test_all_of_them_are_told_at_once(self, root: Path) -> None:
        write_handler(root, {"handler.py": ""}, trust="data", sha256={"../x.py": "a" * 64})
        message = refused(root)
        assert "trust: must be code" in message
        assert "sha256: must pin handler.py" in message
        assert "'../x.py' must be a plain path" in message

    def test_versions_have_pins_of_their_own(self, root: Path, trap: str) -> None:
        versions = {name: {"sha256": {"handler.py": digest(f"# {name}")}} for name in ("1", "2")}
        directory = write_handler(root, {"handler.py": "# 1"}, sha256={}, versions=versions)
        (directory.parent / "2").mkdir()
        (directory.parent / "2" / "handler.py").write_text("# 2")
        first, second = ModelRepository(root, trust="code").scan()
        assert first.pins[0].sha256 == digest("# 1")
        assert second.pins[0].sha256 == digest("# 2")

    def test_pinned_labels_are_checked_where_they_are_read(self, root: Path) -> None:
        output = {"name": "label", "data_type": "TYPE_INT64", "dims": [], "label_filename": "labels.txt"}
        model = write_model(root, fields(output=[output], sha256={"labels.txt": digest("a\nb\n")}))
        (model / "labels.txt").write_text("a\nb\n")
        (version,) = ModelRepository(root, installed("onnxruntime")).scan()
        assert version.signature.outputs[0].labels == ("a", "b")
        (model / "labels.txt").write_text("b\na\n")
        assert f"{model / 'labels.txt'}: is not the file that model.yaml pins" in why_not(root)


class TestSealedCopies:
    """What was hashed is what is loaded, whatever happens to the repository in between."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        place = tmp_path / "temporary"
        place.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(place))
        return place

    def test_a_file_that_changes_after_its_check_is_not_the_one_that_runs(
        self, root: Path, trap: str, traces: Path
    ) -> None:
        directory = write_handler(root, {"handler.py": "TRUE = 1"})
        with VerifiedCopy(scan(root)) as copy:
            (directory / "handler.py").write_text(trap)
            assert copy.version.file.read_text() == "TRUE = 1"

    def test_the_copy_is_private_and_holds_what_is_pinned_only(self, root: Path, place: Path) -> None:
        write_handler(root, {"handler.py": "", "nets/small.py": ""})
        (root / "sums" / "1" / "unpinned.py").touch()
        with VerifiedCopy(scan(root)) as copy:
            directory = copy.version.file.parent
            assert directory.parent == place
            assert directory.stat().st_mode & 0o777 == 0o700
            files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
            assert files == {"handler.py", "nets/small.py"}
        assert list(place.iterdir()) == []

    def test_code_is_not_loaded_from_the_repository_even_if_nothing_is_pinned(
        self, root: Path, trap: str, traces: Path
    ) -> None:
        write_handler(root, {"handler.py": trap})
        with pytest.raises(ConfigurationError):
            load_backend(replace(scan(root), pins=()), "cpu")
        assert not ran(traces)

    def test_a_refused_version_leaves_no_copy(self, root: Path, place: Path) -> None:
        write_handler(root, {"handler.py": ""}, sha256={"handler.py": digest("other")})
        refused(root)
        assert list(place.iterdir()) == []

    def test_a_file_that_cannot_be_read_is_named(self, root: Path) -> None:
        directory = write_handler(root, {"handler.py": ""})
        version = scan(root)
        (directory / "handler.py").unlink()
        with pytest.raises(ConfigurationError, match=r"handler\.py: cannot be copied to .*: No such file"):
            load_backend(version, "cpu")

    def test_copies_of_a_killed_worker_are_removed_and_those_in_use_are_not(self, root: Path, place: Path) -> None:
        write_handler(root, {"handler.py": ""})
        abandoned = place / "penstock-model-abandoned"
        abandoned.mkdir()
        (abandoned / "weights").touch()
        version = scan(root)
        with VerifiedCopy(version) as first:
            assert not abandoned.exists()
            with VerifiedCopy(version) as second:
                assert first.version.file.exists()
                assert second.version.file.exists()

    def test_messages_name_the_repository_and_not_the_copy(self, root: Path, place: Path) -> None:
        directory = write_handler(root, {"handler.py": "class Other: pass"})
        message = refused(root)
        assert message == f"{directory / 'handler.py'}: has no class Handler"

    def test_a_copy_that_cannot_be_made_is_a_configuration_error(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
        write_handler(root, {"handler.py": ""})
        assert "no private copy of the model can be made: " in refused(root)
