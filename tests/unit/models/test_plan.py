"""What has to be done so that a worker serves what stands in its repository."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.model_states import ModelState, WantedState
from schemas.signature import Signature, TensorSpec
from tests.unit.models.snapshots import found, look
from workers.inference.lifecycle.plan import Changes, ServedSpec, changes, stable_snapshot
from workers.inference.models.model_version import ModelVersion
from workers.inference.models.snapshot import FileMark, Found, Snapshot

NOTHING = Changes([], [], [], [], [])
ONE, TWO = found("1"), found("2")
OTHER_TENSORS = Signature(inputs=(TensorSpec("z", "FP32", (-1,)),), outputs=())


def wish(state: ModelState, day: int = 1) -> WantedState:
    return WantedState(state, datetime(2026, 1, day, tzinfo=UTC))


LOADED, UNLOADED = wish(ModelState.LOADED), wish(ModelState.UNLOADED)


def known(*versions: Found, wanted: WantedState | None = None) -> dict[str, ServedSpec]:
    return {each.version.name: ServedSpec(each, wanted) for each in versions}


def to_do(
    served: Mapping[str, ServedSpec],
    now: Snapshot,
    *,
    before: Snapshot | None = None,
    failed: Mapping[str, ServedSpec] | None = None,
    at_work: Sequence[str] = (),
    **wishes: WantedState,
) -> Changes:
    """`wishes` by the version's name, with `v` before it."""

    def wanted(version: ModelVersion) -> WantedState | None:
        return wishes.get(f"v{version.version}")

    return changes(served, failed or {}, stable_snapshot(before or now, now), wanted, at_work)


def test_what_is_served_as_it_stands_is_left_alone() -> None:
    assert to_do(known(ONE, TWO), look(ONE, TWO)) == NOTHING


def test_a_new_version_is_loaded_once_two_looks_have_found_it_alike() -> None:
    half_copied = found("2", size_bytes=50)
    assert to_do(known(ONE), look(ONE, half_copied), before=look(ONE)) == NOTHING
    assert to_do(known(ONE), look(ONE, TWO), before=look(ONE, half_copied)) == NOTHING
    assert to_do(known(ONE), look(ONE, TWO), before=look(ONE, TWO)).load == [ServedSpec(TWO, None)]


def test_a_version_that_has_vanished_is_left_when_it_is_missed_twice() -> None:
    assert to_do(known(ONE, TWO), look(ONE), before=look(ONE, TWO)) == NOTHING
    assert to_do(known(ONE, TWO), look(ONE), before=look(ONE)).leave == ["digits/2"]


def test_a_version_that_cannot_be_read_any_more_is_served_on() -> None:
    broken = look(ONE, there=("digits/2",))
    assert to_do(known(ONE, TWO), broken, before=broken) == NOTHING


def test_other_files_are_swapped_in_once_they_are_settled() -> None:
    written_again = found("1", written_ns=2)
    assert to_do(known(ONE), look(written_again), before=look(ONE)) == NOTHING
    assert to_do(known(ONE), look(written_again)).swap == [ServedSpec(written_again, None)]


@pytest.mark.parametrize("change", [{"max_batch_size": 4}, {"signature": OTHER_TENSORS}, {"max_wait_s": 1.0}])
def test_other_tensors_or_micro_batches_take_new_lanes(change: dict[str, Any]) -> None:
    changed = found("1", **change)
    assert to_do(known(ONE), look(changed)).rebuild == [ServedSpec(changed, None)]


@pytest.mark.parametrize(
    "change", [{"is_default": True}, {"description": "better"}, {"retention_s": 60}, {"metrics": {"accuracy": 1.0}}]
)
def test_what_only_the_catalog_tells_is_announced(change: dict[str, Any]) -> None:
    changed = found("1", **change)
    assert to_do(known(ONE), look(changed)) == NOTHING._replace(announce=[ServedSpec(changed, None)])


def test_a_changed_tokenizer_takes_new_lanes_which_read_it() -> None:
    mark = FileMark("models/digits/tokenizer.json", 10, 1)
    before = ONE._replace(tokenizer=frozenset([mark]))
    after = ONE._replace(tokenizer=frozenset([mark._replace(modified_ns=2)]))
    assert to_do(known(before), look(after)).rebuild == [ServedSpec(after, None)]


def test_of_a_version_at_work_nothing_is_begun_until_that_is_done() -> None:
    written_again = found("1", written_ns=2)
    assert to_do(known(ONE), look(written_again, TWO), at_work=["digits/1", "digits/2"]) == NOTHING


def test_an_old_default_is_announced_after_the_new_one_is_served() -> None:
    was_default, new_default = found("1", is_default=True), found("2", is_default=True)
    begun = to_do(known(was_default), look(ONE, new_default))
    assert (begun.load, begun.announce) == ([ServedSpec(new_default, None)], [])
    assert to_do(known(was_default), look(ONE, new_default), at_work=["digits/2"]).announce == []
    assert to_do(known(was_default, new_default), look(ONE, new_default)).announce == [ServedSpec(ONE, None)]


def test_a_model_whose_folder_cannot_be_listed_is_served_on() -> None:
    unlisted = Snapshot({}, {}, frozenset(), frozenset(["digits"]))
    assert to_do(known(ONE), unlisted) == NOTHING
    assert to_do(known(ONE), look(), before=unlisted) == NOTHING
    assert to_do(known(ONE), look()).leave == ["digits/1"]


def test_what_failed_is_tried_again_only_when_it_changes_or_is_asked_for() -> None:
    failed = known(TWO)
    assert to_do(known(ONE), look(ONE, TWO), failed=failed) == NOTHING

    mended = found("2", written_ns=2)
    assert to_do(known(ONE), look(ONE, mended), failed=failed).load == [ServedSpec(mended, None)]
    assert to_do(known(ONE), look(ONE, TWO), failed=failed, v2=LOADED).load == [ServedSpec(TWO, LOADED)]


def test_a_swap_that_failed_is_not_tried_again() -> None:
    broken = found("1", written_ns=2)
    assert to_do(known(ONE), look(broken), failed=known(broken)) == NOTHING


def test_an_unloaded_version_is_left_and_stays_so() -> None:
    assert to_do(known(ONE, TWO), look(ONE, TWO), v2=UNLOADED) == NOTHING._replace(leave=["digits/2"])
    assert to_do(known(ONE), look(ONE, TWO), v2=UNLOADED) == NOTHING


def test_an_unloaded_version_that_has_vanished_is_left_once() -> None:
    assert to_do(known(ONE, TWO), look(ONE), before=look(ONE), v2=UNLOADED).leave == ["digits/2"]


def test_a_version_is_loaded_again_when_that_is_wanted() -> None:
    assert to_do(known(ONE), look(ONE, TWO), v2=LOADED).load == [ServedSpec(TWO, LOADED)]


def test_one_that_was_unloaded_and_loaded_between_two_looks_is_announced_again() -> None:
    served = known(ONE, wanted=LOADED)
    later = wish(ModelState.LOADED, day=2)
    assert to_do(served, look(ONE), v1=later) == NOTHING._replace(announce=[ServedSpec(ONE, later)])


def test_everything_is_ready_at_the_first_look() -> None:
    assert stable_snapshot(None, look(ONE, TWO)).ready == {"digits/1", "digits/2"}
