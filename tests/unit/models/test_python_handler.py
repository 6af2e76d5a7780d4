"""A handler.py with a class `Handler` serves as a model: batched, its errors told apart, its files its own."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import (
    ConfigurationError,
    InvalidInput,
    JobError,
    OutOfMemory,
    OutputInvalid,
    PenstockError,
    TransientFailure,
)
from schemas.tensors import Array
from tests.unit.models.handlers import TEXT, load_handler, scan, write_handler
from workers.inference import handler as interface
from workers.inference.backends import Backend, load_backend
from workers.inference.execution.bad_rows import BadRows

LABEL = {"name": "label", "data_type": "TYPE_STRING", "dims": []}
SUM = """
    class Handler:
        def predict(self, inputs):
            return {"sum": inputs["values"].sum(axis=1)}
"""


def rows(*values: float) -> dict[str, Array]:
    """A row a value, each value twice in its row."""
    return {"values": np.repeat(np.array(values, np.float32)[:, np.newaxis], 2, axis=1)}


def texts(*values: str | bytes) -> dict[str, Array]:
    return {"text": np.array(values, dtype=object)}


class TestCalls:
    def test_predict_alone_is_a_handler(self, tmp_path: Path) -> None:
        backend = load_handler(tmp_path, SUM)
        assert backend.run(rows(1, 2, 3))["sum"].tolist() == [2, 4, 6]

    def test_what_one_step_makes_the_next_is_given(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def load(self, context):
                    self.scale = context.config["scale"]
                def preprocess(self, inputs):
                    return inputs["values"] * self.scale
                def predict(self, scaled):
                    return scaled.sum(axis=1).tolist()
                def postprocess(self, sums):
                    return {"sum": sums}
        """
        backend = load_handler(tmp_path, handler, parameters={"handler": {"config": {"scale": 10}}})
        assert backend.run(rows(1, 2))["sum"].tolist() == [20, 40]

    def test_parameters_are_given_to_a_predict_that_asks_for_them(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def predict(self, inputs, parameters):
                    return {"sum": inputs["values"].sum(axis=1) * parameters.get("times", 1)}
        """
        backend = load_handler(tmp_path, handler)
        assert backend.run(rows(1), {"times": 3})["sum"].tolist() == [6]
        assert backend.run(rows(1))["sum"].tolist() == [2]

    def test_texts_come_as_bytes_however_they_were_sent(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def predict(self, inputs):
                    return {"label": [text.decode().upper() for text in inputs["text"]]}
        """
        backend = load_handler(tmp_path, handler, input=[TEXT], output=[LABEL])
        assert backend.run(texts("a", b"b"))["label"].tolist() == ["A", "B"]

    def test_text_of_a_fixed_width_becomes_text(self, tmp_path: Path) -> None:
        handler = """
            import numpy as np
            class Handler:
                def predict(self, inputs):
                    return {"label": np.array(["yes", "no"])[(inputs["values"][:, 0] > 0).astype(int)]}
        """
        backend = load_handler(tmp_path, handler, output=[LABEL])
        assert backend.run(rows(0, 1))["label"].tolist() == ["yes", "no"]

    def test_the_context_says_where_the_handler_is(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def load(self, context):
                    data = (context.directory / "data.txt").read_text()
                    self.place = " ".join((context.model, context.version, context.device, data))
                def predict(self, inputs):
                    return {"label": [self.place] * len(inputs["values"])}
        """
        write_handler(tmp_path, {"handler.py": handler, "data.txt": "data"}, output=[LABEL])
        assert load_backend(scan(tmp_path), "cpu").run(rows(0))["label"].tolist() == ["sums 1 cpu data"]

    def test_every_name_that_an_author_may_import_is_there(self) -> None:
        assert [name for name in interface.__all__ if not hasattr(interface, name)] == []


class TestErrors:
    @pytest.mark.parametrize(
        ("raised", "told"),
        [
            ('ValueError("secret")', JobError),
            ('SystemExit("secret")', JobError),
            ('ConnectionResetError("secret")', TransientFailure),
            ('TimeoutError("secret")', TransientFailure),
            ('MemoryError("secret")', OutOfMemory),
            ('InvalidInput("speak up")', InvalidInput),
            ('TransientFailure("come back")', TransientFailure),
        ],
    )
    def test_an_exception_is_told_by_its_kind(self, tmp_path: Path, raised: str, told: type[PenstockError]) -> None:
        handler = f"""
            from workers.inference.handler import InvalidInput, TransientFailure
            class Handler:
                def predict(self, inputs):
                    raise {raised}
        """
        with pytest.raises(told) as caught:
            load_handler(tmp_path, handler).run(rows(1))
        assert type(caught.value) is told
        assert "secret" not in caught.value.message

    @pytest.mark.parametrize(
        ("returned", "datatype", "dims", "told"),
        [
            ("[1.0]", "TYPE_FP32", [], "returned list, not its outputs by name"),
            ("{}", "TYPE_FP32", [], "gave no output 'out'"),
            ("{'out': np.zeros(1)}", "TYPE_FP32", [], "output 'out' is float64, not FP32"),
            ("{'out': [1.5]}", "TYPE_INT64", [], "output 'out' has fractions, and is INT64"),
            ("{'out': [-1]}", "TYPE_UINT8", [], "output 'out' cannot be made UINT8"),
            ("{'out': [[1], [1, 2]]}", "TYPE_INT64", [-1], "output 'out' cannot be made INT64"),
            ("{'out': [1, 2]}", "TYPE_INT64", [], "has shape [2], not [1]"),
        ],
    )
    def test_an_answer_that_is_not_what_was_declared_is_refused(
        self, tmp_path: Path, returned: str, datatype: str, dims: list[int], told: str
    ) -> None:
        handler = f"""
            import numpy as np
            class Handler:
                def predict(self, inputs):
                    return {returned}
        """
        backend = load_handler(tmp_path, handler, output=[{"name": "out", "data_type": datatype, "dims": dims}])
        with pytest.raises(OutputInvalid) as caught:
            backend.run(rows(1))
        assert told in caught.value.message


def named_by(backend: Backend, *values: float) -> BadRows:
    with pytest.raises(BadRows) as caught:
        backend.run(rows(*values))
    return caught.value


class TestBadRows:
    def test_rows_that_are_named_have_each_its_error_told_by_its_kind(self, tmp_path: Path) -> None:
        handler = """
            from workers.inference.handler import BadRows, InvalidInput
            class Handler:
                def predict(self, inputs):
                    raise BadRows({2: InvalidInput("speak up", param="values"), 0: ValueError("secret")})
        """
        named = named_by(load_handler(tmp_path, handler), 1, 2, 3)
        assert named.outputs is None
        told = {row: (type(error), getattr(error, "message", "")) for row, error in named.errors.items()}
        assert told == {
            0: (JobError, "sums/1 failed on this input (ValueError)"),
            2: (InvalidInput, "speak up"),
        }
        assert "secret" in str(named.errors[0].__cause__)

    @pytest.mark.parametrize(
        "returned",
        [
            '{"sum": [1.0, InvalidInput("speak up"), 3.0]}',
            '{"sum": np.array([1.0, InvalidInput("speak up"), 3.0], dtype=object)}',
            '{"sum": (1.0, InvalidInput("speak up"), 3.0)}',
        ],
    )
    def test_an_error_may_stand_in_the_place_of_an_output(self, tmp_path: Path, returned: str) -> None:
        handler = f"""
            import numpy as np
            from workers.inference.handler import InvalidInput
            class Handler:
                def predict(self, inputs):
                    return {returned}
        """
        named = named_by(load_handler(tmp_path, handler), 1, 2, 3)
        assert [(row, str(error)) for row, error in named.errors.items()] == [(1, "speak up")]
        assert named.outputs is not None
        assert named.outputs["sum"].tolist() == [1.0, 3.0]
        assert named.outputs["sum"].dtype == np.float32

    def test_an_error_in_one_output_takes_the_row_out_of_all(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def predict(self, inputs):
                    return {"sum": inputs["values"].sum(axis=1), "label": ["a", ValueError(), "c"]}
        """
        fields = [{"name": "sum", "data_type": "TYPE_FP32", "dims": []}, LABEL]
        named = named_by(load_handler(tmp_path, handler, output=fields), 1, 2, 3)
        assert named.outputs is not None
        assert named.outputs["sum"].tolist() == [2, 6]
        assert named.outputs["label"].tolist() == ["a", "c"]

    @pytest.mark.parametrize("names", ["raise BadRows({0: ValueError()})", 'return {"sum": [ValueError()]}'])
    def test_one_row_alone_has_its_error_raised(self, tmp_path: Path, names: str) -> None:
        handler = f"""
            from workers.inference.handler import BadRows
            class Handler:
                def predict(self, inputs):
                    {names}
        """
        with pytest.raises(JobError, match=r"failed on this input \(ValueError\)"):
            load_handler(tmp_path, handler).run(rows(1))

    @pytest.mark.parametrize(
        ("naming", "told"),
        [
            ("{}", "no row"),
            ("{3: ValueError()}", "row 3 of 3"),
            ("{-1: ValueError()}", "row -1 of 3"),
            ("{1.0: ValueError()}", "an index of type float"),
            ("{True: ValueError()}", "an index of type bool"),
            ("{1: 'too loud'}", "str as the error of row 1"),
            ("{1: ValueError}", "type as the error of row 1"),
        ],
    )
    def test_a_naming_that_cannot_be_is_an_error_of_all(self, tmp_path: Path, naming: str, told: str) -> None:
        handler = f"""
            from workers.inference.handler import BadRows
            class Handler:
                def predict(self, inputs):
                    raise BadRows({naming})
        """
        with pytest.raises(JobError) as caught:
            load_handler(tmp_path, handler).run(rows(1, 2, 3))
        assert caught.value.message == f"sums/1 named bad rows, and among them {told}"

    def test_outputs_that_are_not_as_declared_are_refused_also_beside_bad_rows(self, tmp_path: Path) -> None:
        handler = """
            class Handler:
                def predict(self, inputs):
                    return {"sum": [1.0, ValueError()]}
        """
        with pytest.raises(OutputInvalid, match=r"has shape \[1\], not \[2\]"):
            load_handler(tmp_path, handler).run(rows(1, 2, 3))

    def test_memory_that_runs_out_is_no_rows_own(self, tmp_path: Path) -> None:
        handler = """
            from workers.inference.handler import BadRows
            class Handler:
                def predict(self, inputs):
                    raise BadRows({1: MemoryError()})
        """
        with pytest.raises(OutOfMemory):
            load_handler(tmp_path, handler).run(rows(1, 2, 3))


class TestLoading:
    @pytest.mark.parametrize(
        ("handler", "told"),
        [
            ("class Handlr: pass", "has no class Handler"),
            ("class Handler: pass", "class Handler has no method predict"),
            ("class Handler(:", "cannot be loaded: SyntaxError: "),
            ("import no_such_module", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'"),
            ("raise SystemExit('bye')", "cannot be loaded: SystemExit: bye"),
            ("class Handler:\n  def predict(self, x): ...\n  def load(self, context): 1 / 0", "ZeroDivisionError: "),
        ],
    )
    def test_what_goes_wrong_is_told_with_the_file(self, tmp_path: Path, handler: str, told: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load_handler(tmp_path, handler)
        message = caught.value.message
        assert message.startswith(f"{tmp_path / 'sums' / '1' / 'handler.py'}: ")
        assert told in message
        assert "\n" not in message

    def test_versions_may_bring_different_modules_of_one_name(self, tmp_path: Path) -> None:
        handler = """
            from scale import SCALE
            class Handler:
                def predict(self, inputs):
                    return {"sum": inputs["values"].sum(axis=1) * SCALE}
        """
        backends = []
        for name, scale in (("sums", 1), ("others", 10)):
            write_handler(tmp_path, {"handler.py": handler, "scale.py": f"SCALE = {scale}"}, name=name)
            backends.append(load_backend(scan(tmp_path, name), "cpu"))
        assert [backend.run(rows(1))["sum"].tolist() for backend in backends] == [[2], [20]]
        assert "scale" not in sys.modules

    def test_a_module_that_would_hide_behind_another_is_refused(self, tmp_path: Path) -> None:
        write_handler(tmp_path, {"handler.py": SUM, "numpy/__init__.py": ""})
        with pytest.raises(ConfigurationError, match="numpy: a module named 'numpy' is there already"):
            load_backend(scan(tmp_path), "cpu")

    def test_a_closed_handler_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        before = (set(sys.modules), list(sys.path))
        backend = load_handler(tmp_path, SUM)
        assert len(list(tmp_path.glob("penstock-*"))) == 1
        backend.close()
        assert list(tmp_path.glob("penstock-*")) == []
        assert (set(sys.modules), list(sys.path)) == before


def test_a_handler_that_prints_disturbs_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[Any]) -> None:
    handler = """
        print("hello")
        class Handler:
            def predict(self, inputs):
                print("predicting")
                return {"sum": inputs["values"].sum(axis=1)}
    """
    assert load_handler(tmp_path, handler).run(rows(1))["sum"].tolist() == [2]
