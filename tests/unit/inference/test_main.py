"""What the worker's process sets up before anything runs in it."""

import sys

import pytest

from workers.inference import main
from workers.inference.engine.inference_thread import SWITCH_INTERVAL_S


def test_the_thread_that_runs_models_waits_but_shortly_for_a_busy_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []
    monkeypatch.setattr(main, "run_process", lambda *_: found.append(sys.getswitchinterval()))
    before = sys.getswitchinterval()
    try:
        main.run()
    finally:
        sys.setswitchinterval(before)
    assert found == pytest.approx([SWITCH_INTERVAL_S])
    assert before > SWITCH_INTERVAL_S
