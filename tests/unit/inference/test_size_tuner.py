"""The size of micro-batches, learned on models whose run times are known: nearly as good as the best fixed size."""

import random
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.unit.inference.simulated import Model, cliff, jump, line, plateau, serve
from workers.inference.batching.adaptive.size_tuner import BatchSizeTuner

MS = 1e-3
CEILING = 256
SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(line(1 * MS, 1 * MS), id="a small fixed part"),
        pytest.param(line(100 * MS, 1 * MS), id="a large fixed part"),
        pytest.param(line(10 * MS, 0.0), id="rows for nothing"),
        pytest.param(line(0.0, 1 * MS), id="rows for nothing less"),
        pytest.param(cliff(20 * MS, 1 * MS, 40, 4), id="dear rows beyond 40"),
        pytest.param(cliff(20 * MS, 1 * MS, 100, 20), id="a cliff at 100"),
        pytest.param(plateau(16 * MS, 1 * MS), id="a plateau"),
    ],
)
@pytest.mark.parametrize("at_first", [1, CEILING])
def test_throughput_is_nearly_that_of_the_best_fixed_size(model: Model, at_first: int, noise: float, seed: int) -> None:
    sizer = BatchSizeTuner(CEILING)
    sizer.start_at(at_first)
    served = serve(sizer, model, ceiling=CEILING, seed=seed, noise=noise)
    assert served.efficiency >= 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_from_the_ceiling_it_sees_beyond_a_valley_and_soon(seed: int) -> None:
    # Given a device that is best at 24 rows, and worse at 64 than at 128
    sizer = BatchSizeTuner(128)
    sizer.start_at(128)
    served = serve(sizer, jump(10 * MS, 0.5 * MS, 24, 4.0), ceiling=128, seed=seed, runs=150)
    assert served.sizes[:2] == [128, 128]
    assert sum(size > 24 for size in served.sizes) <= 12
    assert all(16 <= size <= 24 for size in served.sizes[-50:])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "eras",
    [
        pytest.param((cliff(20 * MS, 1 * MS, 100, 20), cliff(20 * MS, 1 * MS, 24, 20)), id="the cliff comes nearer"),
        pytest.param((cliff(20 * MS, 1 * MS, 24, 20), cliff(20 * MS, 1 * MS, 100, 20)), id="the cliff goes away"),
        pytest.param((line(20 * MS, 1 * MS), line(20 * MS, 5 * MS)), id="a slower device"),
        pytest.param((line(20 * MS, 5 * MS), line(20 * MS, 1 * MS)), id="a faster device"),
    ],
)
def test_a_model_that_changes_is_followed(eras: tuple[Model, Model], seed: int) -> None:
    assert serve(BatchSizeTuner(CEILING), *eras, ceiling=CEILING, seed=seed).efficiency >= 0.95


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("model", "target_s"),
    [
        pytest.param(line(10 * MS, 1 * MS), 50 * MS, id="a line"),
        pytest.param(cliff(10 * MS, 1 * MS, 30, 20), 100 * MS, id="a cliff before the target"),
        pytest.param(cliff(10 * MS, 1 * MS, 60, 3), 75 * MS, id="the target beyond a cliff"),
    ],
)
def test_runs_keep_to_the_latency_target_and_use_it(model: Model, target_s: float, seed: int) -> None:
    sizer = BatchSizeTuner(CEILING, target_s=target_s)
    served = serve(sizer, model, ceiling=CEILING, seed=seed, target_s=target_s)
    assert served.efficiency >= 0.95
    settled = served.sizes[-1000:]
    assert statistics.mean(model(rows) > 1.1 * target_s for rows in settled) < 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_that_drifts_away_is_followed_down(seed: int) -> None:
    sizer = BatchSizeTuner(CEILING, target_s=100 * MS)
    served = serve(sizer, line(20 * MS, 1 * MS), line(20 * MS, 3 * MS), ceiling=CEILING, seed=seed, target_s=100 * MS)
    assert served.efficiency >= 0.95
    assert sizer.best_rows <= 28


def test_a_target_that_cannot_be_met_leaves_single_rows() -> None:
    sizer = BatchSizeTuner(CEILING, target_s=1 * MS)
    serve(sizer, line(20 * MS, 1 * MS), ceiling=CEILING, seed=0, runs=500)
    assert sizer.best_rows == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("memory_rows", [1, 70, 99, 200])
def test_memory_runs_out_a_few_times_and_the_rest_is_made_the_most_of(memory_rows: int, seed: int) -> None:
    served = serve(BatchSizeTuner(CEILING), line(20 * MS, 1 * MS), ceiling=CEILING, seed=seed, memory_rows=memory_rows)
    assert served.efficiency >= 0.95
    assert served.out_of_memory <= 6


def test_when_memory_runs_out_half_is_next() -> None:
    sizer = BatchSizeTuner(64)
    sizer.start_at(64)
    sizer.out_of_memory(64, 64)
    assert sizer.rows == 32


def test_where_rows_differ_in_cost_their_sum_is_what_memory_limits() -> None:
    sizer = BatchSizeTuner(64, costs_differ=True)
    sizer.start_at(64)
    sizer.out_of_memory(8, 4096)
    assert sizer.rows == 64
    assert sizer.cost == 3072
    sizer.out_of_memory(64, 8192)
    assert sizer.cost == 3072


def test_it_grows_by_two_at_most_and_at_once_where_it_pays() -> None:
    served = serve(BatchSizeTuner(CEILING), line(100 * MS, 1 * MS), ceiling=CEILING, seed=0, runs=60)
    assert served.sizes[0] == 1
    assert max(served.sizes) == CEILING
    assert all(after <= 2 * max(served.sizes[: index + 1]) for index, after in enumerate(served.sizes[1:]))


def test_a_sizer_that_is_not_adaptive_is_the_ceiling_until_memory_runs_out() -> None:
    sizer = BatchSizeTuner(64, adaptive=False)
    serve(sizer, line(0.0, 1 * MS), ceiling=64, seed=0, runs=500)
    assert sizer.rows == 64
    sizer.out_of_memory(64, 64)
    assert sizer.rows == 32
    assert sizer.predicted_s(64, 64.0) == pytest.approx(64 * MS, rel=0.2)


@pytest.mark.parametrize("batch_sizes", [(1, 2, 4, 8, 16, 32, 64), (8, 64), (64,)])
@pytest.mark.parametrize("seed", SEEDS)
def test_of_certain_sizes_only_the_best_is_found(batch_sizes: tuple[int, ...], seed: int) -> None:
    # Given a model compiled for some sizes, and dear beyond 40 rows
    model = cliff(5 * MS, 1 * MS, 40, 4)
    sizer = BatchSizeTuner(64, batch_sizes=batch_sizes)
    served = serve(sizer, model, ceiling=64, seed=seed)
    assert set(served.sizes) <= set(batch_sizes)
    assert sizer.best_rows == max(batch_sizes, key=lambda rows: rows / model(rows))


def test_a_row_that_is_spared_is_worth_its_share_of_a_full_micro_batch() -> None:
    sizer = BatchSizeTuner(64)
    assert sizer.row_s() is None
    serve(sizer, line(64 * MS, 1 * MS), ceiling=64, seed=0)
    assert sizer.row_s() == pytest.approx(2 * MS, rel=0.2)


def test_micro_batches_that_are_not_full_change_nothing() -> None:
    sizer = BatchSizeTuner(CEILING)
    sizer.start_at(64)
    for _ in range(1000):
        sizer.observe(5, 5, 10 * MS)
    assert sizer.rows == 64


@pytest.mark.parametrize("rows_a_job", [3, 64])
def test_jobs_of_many_rows_do_not_hold_it_to_sizes_that_they_never_make(rows_a_job: int) -> None:
    # Given a device that is worth filling, and jobs of so many rows each
    sizer = BatchSizeTuner(CEILING)
    sizer.start_at(CEILING)
    ran = []
    for _ in range(600):
        rows = rows_a_job * max(1, sizer.rows // rows_a_job)
        sizer.observe(rows, rows, 100 * MS + rows * MS)
        ran.append(rows)
    assert statistics.mean(ran[-300:]) >= 0.9 * CEILING


def test_a_trial_that_the_load_never_fills_is_given_up() -> None:
    # Given a sizer that would like to know about more rows than there are
    sizer = BatchSizeTuner(CEILING)
    while sizer.rows < 64:
        sizer.observe(sizer.rows, sizer.rows, 100 * MS)

    # When the load is too low for it
    for _ in range(1000):
        sizer.observe(40, 40, 100 * MS)

    # Then it goes back to what it knows
    assert sizer.rows == sizer.best_rows <= 64


@pytest.mark.parametrize("at_first", [1, 64])
def test_jobs_that_each_fill_a_micro_batch_leave_the_size_as_it_is(at_first: int) -> None:
    # Given jobs of 64 rows, so that no trial of fewer is ever filled
    sizer = BatchSizeTuner(64)
    sizer.start_at(at_first)
    for _ in range(1000):
        sizer.observe(64, 64, 10 * MS)
    assert sizer.best_rows == at_first


@examples(60)
@given(
    ceiling=st.integers(1, 300),
    start=st.one_of(st.none(), st.integers(1, 400)),
    target_s=st.one_of(st.none(), st.floats(1e-4, 1.0)),
    steps=st.sampled_from([(), (1, 8, 64), (64,), (16, 48)]),
    costs_differ=st.booleans(),
    eras=st.lists(
        st.tuples(
            st.integers(1, 70),  # rows a job
            st.floats(1.0, 1000.0),  # what a row costs
            st.floats(1e-6, 10.0),  # how long a run takes
            st.floats(0.0, 1.0),  # and so much longer a row
            st.one_of(st.none(), st.integers(1, 300)),  # rows that memory has no room for
            st.integers(1, 200),  # runs
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_no_sequence_of_runs_makes_it_raise(
    ceiling: int,
    start: int | None,
    target_s: float | None,
    steps: tuple[int, ...],
    costs_differ: bool,
    eras: list[tuple[int, float, float, float, int | None, int]],
) -> None:
    ceiling = steps[-1] if steps else ceiling
    sizer = BatchSizeTuner(ceiling, target_s=target_s, batch_sizes=steps, costs_differ=costs_differ)
    if start is not None:
        sizer.start_at(start)
    for rows_a_job, row_cost, fixed_s, row_s, too_many, runs in eras:
        for _ in range(runs):
            rows = rows_a_job * max(1, sizer.rows // rows_a_job)  # a job is never divided to fit
            if too_many is not None and rows >= too_many:
                sizer.out_of_memory(rows, rows * row_cost)
            sizer.observe(rows, rows * row_cost, fixed_s + row_s * rows)
            assert 1 <= sizer.rows <= ceiling
            assert 1 <= sizer.best_rows <= ceiling
            assert (sizer.row_s() or 0) >= 0


def test_a_model_of_tokens_is_sized_by_what_a_token_costs() -> None:
    # Given micro-batches whose rows have very different costs, and a device that is full at 100,000 of cost
    chance = random.Random(1)  # noqa: S311 - a simulation
    sizer = BatchSizeTuner(CEILING)
    for _ in range(3000):
        rows = sizer.rows
        cost = rows * chance.choice([64, 128, 256, 512])
        sizer.observe(rows, cost, 20 * MS + cost * 1e-6 + max(0, cost - 100_000) * 1e-5)
    assert sizer.best_rows > 100
    assert sizer.padding_worth() is not None


@given(
    ceiling=st.integers(1, 300),
    start=st.integers(1, 400),
    target_s=st.one_of(st.none(), st.floats(1e-4, 1.0)),
    events=st.lists(
        st.tuples(st.floats(0.1, 1.5), st.floats(1e-5, 10.0), st.integers(0, 30)), min_size=1, max_size=300
    ),
)
def test_it_is_never_above_its_ceiling_nor_where_memory_ran_out_nor_below_one(
    ceiling: int, start: int, target_s: float | None, events: list[tuple[float, float, int]]
) -> None:
    sizer = BatchSizeTuner(ceiling, target_s=target_s)
    sizer.start_at(start)
    refused = ceiling + 1
    for filled, seconds, luck in events:
        rows = max(1, round(sizer.rows * filled))
        if luck == 0:
            sizer.out_of_memory(rows, rows)
            refused = min(refused, max(2, rows))
        else:
            sizer.observe(rows, rows, seconds)
        assert 1 <= sizer.rows < refused
        assert 1 <= sizer.best_rows < refused


def test_it_costs_microseconds_a_run() -> None:
    sizer = BatchSizeTuner(CEILING)
    started = time.process_time()
    serve(sizer, line(10 * MS, 1 * MS), ceiling=CEILING, seed=0, runs=20_000)
    assert (time.process_time() - started) / 20_000 < 100e-6, "some 10 with the simulation, where nothing else runs"
