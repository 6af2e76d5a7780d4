"""What the author, the operator and the client are told of a handler that fails: each what is theirs to know."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigurationError, JobError, OutOfMemory, PenstockError
from schemas.jobs import Payload, Terminal
from schemas.records import LaneJob
from schemas.topics import LaneClass
from tests.contracts.stores.building import NOW
from tests.unit.models.handlers import digest, scan, write_handler
from workers.inference.backends import load_backend
from workers.inference.backends.own_frames import own_traceback
from workers.inference.lifecycle.reporting import reason_for_clients
from workers.inference.results.outcomes import failed

ROWS = {"values": np.zeros((1, 2), np.float32)}
FAILING = """
    from mlp import forward
    class Handler:
        def predict(self, inputs):
            return forward(inputs["values"])
"""
MLP = """
    import json
    def forward(values):
        return json.loads("secret-of-mine{")
"""


def error_of(root: Path, **changes: Any) -> JobError:
    write_handler(root, {"handler.py": FAILING, "mlp.py": MLP}, **changes)
    backend = load_backend(scan(root), "cpu")
    try:
        with pytest.raises(JobError) as raised:
            backend.run(ROWS)
    finally:
        backend.close()
    return raised.value


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_the_log_has_the_frames_of_the_models_own_code_where_they_lie(tmp_path: Path, isolation: str) -> None:
    told = own_traceback(error_of(tmp_path, isolation=isolation), scan(tmp_path))
    assert told is not None
    lines = [line.strip() for line in told.splitlines()]
    directory = tmp_path / "sums" / "1"
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'File "{directory / "handler.py"}", line 5, in predict'
    assert f'File "{directory / "mlp.py"}", line 4, in forward' in lines
    assert 'return json.loads("secret-of-mine{")' in lines
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")
    files = [line for line in lines if line.startswith("File ")]
    assert len(files) == 3  # the two, and where in json it was raised
    assert "penstock-model-" not in told
    assert "workers/inference" not in told


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("said", ["'caf' + chr(0xdce9)", "'x' * 1_000_000"])
def test_whatever_an_exception_says_can_be_sent_and_logged(tmp_path: Path, isolation: str, said: str) -> None:
    handler = f"""
        class Handler:
            def predict(self, inputs):
                raise ValueError({said})
    """
    write_handler(tmp_path, {"handler.py": handler}, isolation=isolation)
    backend = load_backend(scan(tmp_path), "cpu")
    try:
        with pytest.raises(JobError, match="ValueError") as raised:
            backend.run(ROWS)
    finally:
        backend.close()
    told = own_traceback(raised.value, scan(tmp_path))
    assert told is not None
    assert "in predict" in told
    assert len(told.encode()) < 40_000


def test_what_passed_through_no_code_of_the_models_has_no_traceback_of_its_own(tmp_path: Path) -> None:
    write_handler(tmp_path, {"handler.py": FAILING, "mlp.py": MLP})
    error = JobError("the model failed")
    error.__cause__ = error
    assert own_traceback(error, scan(tmp_path)) is None


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_clients_are_told_the_class_and_with_detail_the_words(tmp_path: Path, isolation: str) -> None:
    plain = error_of(tmp_path / "plain", isolation=isolation)
    assert plain.message == "sums/1 failed on this input (JSONDecodeError)"
    told = error_of(tmp_path / "told", isolation=isolation, errors="detail")
    assert told.message == ("sums/1 failed on this input (JSONDecodeError: Expecting value: line 1 column 1 (char 0))")


def end_with(error: PenstockError) -> Terminal:
    job = LaneJob(
        tenant="default",
        id="job_1",
        model="sums",
        version="1",
        lane=LaneClass.LIVE,
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=1),
        payload=Payload(b"{}"),
    )
    end = failed(job, error, NOW, ())
    assert isinstance(end, Terminal)
    return end


def test_a_job_that_the_models_code_failed_names_where_the_log_tells_more() -> None:
    error = end_with(JobError("sums/1 failed on this input (ValueError)")).error
    assert error is not None
    assert error.message == "sums/1 failed on this input (ValueError); the worker's log tells more beside job_1"
    plain = end_with(OutOfMemory("sums/1 ran out of memory with 1 rows")).error
    assert plain is not None
    assert plain.message == "sums/1 ran out of memory with 1 rows"


def load_error(root: Path, files: dict[str, str], **changes: Any) -> ConfigurationError:
    directory = write_handler(root, files, **changes)
    with pytest.raises(ConfigurationError) as refused:
        load_backend(scan(root), "cpu")
    assert refused.value.message.startswith(f"{directory / 'handler.py'}: ")
    return refused.value


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize("module", ["mlp.py", "mlp/__init__.py"])
def test_a_module_that_is_not_pinned_is_told_as_that(tmp_path: Path, module: str, isolation: str) -> None:
    handler = "from mlp import forward\n"
    refused = load_error(
        tmp_path, {"handler.py": handler, module: ""}, sha256={"handler.py": digest(handler)}, isolation=isolation
    )
    told = f"{module} lies beside handler.py but is not pinned: add it under sha256 (`penstock models pin` does)"
    assert refused.message.endswith(f": {told}")
    assert reason_for_clients(refused, tmp_path) == f"sums/1/handler.py: {told}"


def test_a_module_that_lies_nowhere_is_told_as_missing(tmp_path: Path) -> None:
    refused = load_error(tmp_path, {"handler.py": "import nowhere_at_all"})
    told = "sums/1/handler.py: cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'"
    assert reason_for_clients(refused, tmp_path) == told


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_what_a_handler_says_while_it_loads_is_not_for_clients(tmp_path: Path, isolation: str) -> None:
    refused = load_error(tmp_path, {"handler.py": "raise ValueError('password=x')"}, isolation=isolation)
    assert "password=x" in refused.message
    told = "sums/1/handler.py: cannot be loaded: ValueError; the worker's log has the rest"
    assert reason_for_clients(refused, tmp_path) == told
