"""What must stand in a version's directory: a file some installed platform runs, and no path that leads out of it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from tests.unit.models.repositories import fields, installed, why_not, write_model
from workers.inference.models.labels import labels_in
from workers.inference.models.repository import ModelRepository

ONNX_ONLY = installed("onnxruntime")


class TestPlatforms:
    """`platform` may list several: the first that is installed and whose file is there runs the version."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        content = fields(
            platform=["pytorch_safetensors", "onnxruntime_onnx"], parameters={"torch": {"architecture": "sequential"}}
        )
        model = write_model(tmp_path, content)
        (model / "1" / "model.safetensors").touch()
        return tmp_path

    @pytest.mark.parametrize(
        ("modules", "platform"),
        [
            (("onnxruntime",), "onnxruntime_onnx"),
            (("torch", "safetensors"), "pytorch_safetensors"),
            (("torch", "onnxruntime"), "onnxruntime_onnx"),
            (("torch", "safetensors", "onnxruntime"), "pytorch_safetensors"),
        ],
    )
    def test_what_is_installed_decides(self, root: Path, modules: tuple[str, ...], platform: str) -> None:
        (version,) = ModelRepository(root, installed(*modules)).scan()
        assert version.platform == platform

    def test_a_platform_without_its_file_is_passed_over(self, root: Path) -> None:
        (root / "digits" / "1" / "model.safetensors").unlink()
        (version,) = ModelRepository(root, installed("torch", "safetensors", "onnxruntime")).scan()
        assert version.platform == "onnxruntime_onnx"

    def test_every_reason_is_told_where_none_can_be_used(self, root: Path) -> None:
        (root / "digits" / "1" / "model.onnx").unlink()
        with pytest.raises(ConfigurationError) as caught:
            ModelRepository(root, ONNX_ONLY).scan(["digits"])
        assert caught.value.message == (
            f"{root / 'digits' / '1'}: cannot be run: "
            "pytorch_safetensors needs torch, safetensors (install Penstock with its extra torch); "
            "onnxruntime_onnx needs the file model.onnx"
        )

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("mlp.pt", "mlp.pt is what torch.save writes, weights or a pickled module: docs/pytorch.md has"),
            ("MLP.PTH", "MLP.PTH is what torch.save writes"),
            ("pytorch_model.bin", "pytorch_model.bin is what torch.save writes"),
            ("iris.pkl", "iris.pkl is a pickle, as scikit-learn's estimators are kept in: docs/models.md, "),
            ("iris.joblib", "iris.joblib is a pickle, "),
            ("model.joblib", "model.joblib is there, which `platform: sklearn_joblib` runs"),
            ("model.h5", "model.h5 is a model of Keras: convert it to ONNX with tf2onnx"),
            ("llama.gguf", "llama.gguf is a language model of llama.cpp, which has a server of its own: a handler may"),
            ("iris.onnx", "iris.onnx is there, and would be found as model.onnx"),
            ("model.safetensors", "model.safetensors is there, which `platform: pytorch_safetensors` runs"),
        ],
    )
    def test_a_file_that_nothing_here_runs_is_told_with_what_to_do(self, tmp_path: Path, name: str, told: str) -> None:
        write_model(tmp_path, fields(), filename=name)
        assert f"cannot be run: onnxruntime_onnx needs the file model.onnx; {told}" in why_not(tmp_path)

    def test_what_lies_beside_a_model_that_can_be_run_is_nobody_s_business(self, tmp_path: Path) -> None:
        model = write_model(tmp_path, fields())
        for name in ("mlp.pt", "README.md", "notes.txt"):
            (model / "1" / name).touch()
        ModelRepository(tmp_path, ONNX_ONLY).scan(["digits"])
        (model / "1" / "model.onnx").unlink()
        assert why_not(tmp_path).endswith("docs/pytorch.md has three ways to serve it")

    def test_weights_beside_a_handler_are_its_own_whatever_else_it_lacks(self, tmp_path: Path) -> None:
        digest = "0" * 64
        pinned = {"handler.py": digest, "mlp.pt": digest}
        content = fields(platform="python_handler", trust="code", sha256=pinned)
        model = write_model(tmp_path, content, filename="handler.py")
        (model / "1" / "mlp.pt").touch()
        assert why_not(tmp_path).endswith("or `penstock up --trust code`")

    def test_torch_needs_an_architecture(self, tmp_path: Path) -> None:
        write_model(tmp_path, fields(platform="pytorch_safetensors"), filename="model.safetensors")
        assert "parameters.torch.architecture: is missing" in why_not(tmp_path)


def with_labels(filename: str, **output: Any) -> dict[str, Any]:
    label = {"name": "label", "data_type": "TYPE_INT64", "dims": [], "label_filename": filename}
    return fields(output=[{**label, **output}])


class TestFiles:
    """Files that model.yaml names lie in the version's directory or beside model.yaml, and nowhere else."""

    def test_a_versions_own_labels_come_before_the_models(self, tmp_path: Path) -> None:
        model = write_model(tmp_path, with_labels("labels.txt"), versions=("1", "2"))
        (model / "labels.txt").write_text("a\nb\n")
        (model / "2" / "labels.txt").write_text("c\nd\n")
        first, second = ModelRepository(tmp_path, ONNX_ONLY).scan()
        assert first.signature.outputs[0].labels == ("a", "b")
        assert second.signature.outputs[0].labels == ("c", "d")

    @pytest.mark.parametrize("filename", ["../secret.txt", "../../secret.txt", "{root}/secret.txt"])
    def test_a_path_that_leads_out_is_refused(self, tmp_path: Path, filename: str) -> None:
        (tmp_path / "secret.txt").write_text("a\n")
        write_model(tmp_path, with_labels(filename.format(root=tmp_path)))
        assert "leads out of" in why_not(tmp_path)

    def test_a_link_that_leads_out_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "secret.txt").write_text("a\n")
        model = write_model(tmp_path, with_labels("labels.txt"))
        (model / "1" / "labels.txt").symlink_to(tmp_path / "secret.txt")
        assert "labels.txt: leads out of" in why_not(tmp_path)

    def test_weights_may_not_be_a_link_to_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "other.onnx").touch()
        model = write_model(tmp_path)
        (model / "1" / "model.onnx").unlink()
        (model / "1" / "model.onnx").symlink_to(tmp_path / "other.onnx")
        assert why_not(tmp_path) == f"{model / '1' / 'model.onnx'}: leads out of {model / '1'}"

    def test_a_file_that_is_nowhere_is_named(self, tmp_path: Path) -> None:
        write_model(tmp_path, with_labels("labels.txt"))
        assert "the file 'labels.txt' is neither there nor beside model.yaml" in why_not(tmp_path)

    def test_a_tokenizer_is_found_like_labels(self, tmp_path: Path) -> None:
        content = fields(
            input=[{"name": "text", "data_type": "TYPE_STRING", "dims": []}],
            parameters={"tokenizer": {"input": "text", "max_tokens": 8}},
        )
        model = write_model(tmp_path, content)
        assert "the file 'tokenizer.json' is neither there" in why_not(tmp_path)
        (model / "tokenizer.json").touch()
        (version,) = ModelRepository(tmp_path, installed("onnxruntime", "tokenizers")).scan()
        assert version.tokenizer_file == model / "tokenizer.json"
        with pytest.raises(ConfigurationError, match=r"need tokenizers \(install Penstock with its extra text\)"):
            ModelRepository(tmp_path, ONNX_ONLY).scan()

    @pytest.mark.parametrize("content", [b"", b" \n\t\n", b"a\n\nb\n", b"\xff\n", b"a\na\na (1)\n", b"\xff\xfea"])
    def test_labels_are_one_class_a_line(self, tmp_path: Path, content: bytes) -> None:
        model = write_model(tmp_path, with_labels("labels.txt"))
        (model / "labels.txt").write_bytes(content)
        assert f"{model / 'labels.txt'}: " in why_not(tmp_path)

    def test_scores_need_a_label_a_column(self, tmp_path: Path) -> None:
        model = write_model(tmp_path, with_labels("labels.txt", data_type="TYPE_FP32", dims=[10]))
        (model / "labels.txt").write_text("a\nb\n")
        assert "output 'label': labels.txt has 2 labels, and the output 10 classes" in why_not(tmp_path)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (b"cat\ndog", ("cat", "dog")),
        (b"cat\r\ndog\r\n", ("cat", "dog")),
        (b"cat\rdog\r", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\ndog\n", ("cat", "dog")),
        ("cat\nhund\u00e9\n".encode("utf-16"), ("cat", "hund\u00e9")),
        (b"cat  \n\tdog\t\n\n \n", ("cat", "dog")),
        (b"great\tgrey owl\ndog\n", ("great\tgrey owl", "dog")),
        ("a\u2028b\nc\u0085d\x0ce\n".encode(), ("a\u2028b", "c\u0085d\x0ce")),
        (b"tench\ncrane\notter\ncrane\n", ("tench", "crane (1)", "otter", "crane (3)")),
    ],
)
def test_labels_are_the_names_that_an_editor_shows(content: bytes, labels: tuple[str, ...]) -> None:
    assert labels_in(content) == labels


@given(st.lists(st.text(alphabet="ab \t\u2028\u00e9(1)", min_size=1).filter(lambda name: name.strip()), max_size=6))
def test_every_class_has_a_label_of_its_own_or_the_file_is_refused(names: list[str]) -> None:
    with suppress(ValueError):
        labels = labels_in("\n".join(names).encode())
        assert len(labels) == len(set(labels)) == len(names)
