"""The benchmarks run, in short: their figures are not judged here, only that they come about."""

import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).parents[3]
CELL = r"[\d.,]+ \([\d.,]+ to [\d.,]+\) \| "
# In the order in which they run; what some of them count in the database, others must not have begun to write.
MEASUREMENTS = (
    *("submit", "causes", "worker", "poison", "blocks", "division", "priority", "scaling", "clients"),
    *("latency", "throughput", "recovery", "broker"),
)
ONLY = (
    *("digits, linear, a row", "lookup", "10", "librdkafka", "waiting, 100", "sink"),
    "both compilers, serial",
)

pytestmark = pytest.mark.timeout(400)  # all of them run before the first test of what they say


def run_benchmark(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        # Whole stacks start sooner without the model that needs torch.
        env=os.environ | {"PENSTOCK_WORKER_MODELS": "digits/1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def output() -> str:
    """Of those that share what they measure: one program, one after the other."""
    only = [word for name in ONLY for word in ("--only", name)]
    return run_benchmark(*MEASUREMENTS, "--rounds", "1", "--shorten", "16", *only)


def table(output: str, title: str) -> str:
    """The one whose title begins so."""
    found = re.search(rf"^### {re.escape(title)}.*?(?=^###|\Z)", output, re.MULTILINE | re.DOTALL)
    assert found is not None, output
    return found[0]


def test_the_worker_is_measured_beside_the_model_alone_and_beside_the_naive_loop(output: str) -> None:
    alone = table(output, "Worker: rows a second through Kafka, beside the model alone")
    assert re.search(r"\| digits, linear, a row a job \| [\d,.]+ ", alone)
    naive = table(output, "Worker: single-row jobs a second, beside the loop everybody writes")
    assert re.search(r"\| 5 \| [\d,.]+ .*\| [\d,.]+ .*\| [\d.]+ \|", naive)


def test_latency_is_measured_on_a_fresh_stack_with_the_processor_time_of_each_part(output: str) -> None:
    row = rf"\| waiting, 100 jobs/s \| now \| {CELL}{CELL}6 / 12 \| 0 \| "
    assert re.search(row, table(output, "Submit to result, open loop"))
    parts = r"\| waiting, 100 jobs/s \| now( \| [\d,.]+){9} \|"
    assert re.search(parts, table(output, "Processor time a job by part")), "every part took processor time"


def test_jobs_that_end_are_counted_in_postgres(output: str) -> None:
    assert re.search(rf"\| now \| {CELL}{CELL}{CELL}[\d.,]+ \(", table(output, "Throughput: 64 connections"))
    assert re.search(rf"\| now \| {CELL}{CELL}{CELL}{CELL}", table(output, "Throughput: processor time a job by part"))


def test_processor_time_is_divided_by_part_and_cause(output: str) -> None:
    found = table(output, "Processor time of a waiting job")
    assert re.search(r"\| gateway( \| [\d,.]+){6} \|  \| [\d,.]+ \|", found)
    assert re.search(r"\| Kafka( \| ){6} \| [\d,.]+ \| [\d,.]+ \|", found)


def test_durable_submits_of_one_gateway_and_of_two_are_counted_in_postgres_and_kafka(output: str) -> None:
    assert re.search(rf"\| {CELL}{CELL}[\d.]+ \|", table(output, "Gateway: durable submits a second"))
    assert re.search(rf"\| submits/s \| {CELL}{CELL}[\d.]+ \|", table(output, "Gateway: two processes on one port"))
    assert re.search(r"\| 2 gateways( \| [\d.,]+){6} \|", table(output, "Gateway: processor time a submit"))


@pytest.mark.parametrize(
    ("title", "row"),
    [
        ("Bad rows", r"\| lookup .*\| [\d,.]+ .*\| [\d.]+ \| [\d,.]+ .*\| [\d.]+ \|"),
        ("Row blocks of 1,000 rows", rf"\| digits, linear \| {CELL}{CELL}[\d.]+ \| {CELL}[\d.]+ \| {CELL}[\d.]+ \|"),
        ("Row blocks with bad rows", rf"\| lookup .* \| {CELL}{CELL}[\d.]+ \|"),
        ("Dividing micro-batches", r"\| 10\.0% \| [\d.]+ .*\| [\d.]+ \|"),
        ("The broker's VM", r"\| both compilers, serial collector( \| [\d,.]+ \([^)]*\)){11} \|"),
        ("Fetching", r"\| librdkafka, in a thread( \| [\d,.]+ \([^)]*\)){6} \|"),
        ("Scaling", r"\| 2 \| [\d,.]+ .*\| [\d,.]+ \| [\d.]+ \|"),
    ],
)
def test_what_the_worker_promises_is_measured(output: str, title: str, row: str) -> None:
    assert re.search(row, table(output, title))


def test_live_jobs_under_a_backlog_are_measured_and_what_they_leave_to_it(output: str) -> None:
    assert re.search(rf"\| 10 \| {CELL}{CELL}{CELL}{CELL}[\d.]+ \|", table(output, "Live jobs under a bulk backlog"))
    assert re.search(rf"\| 10 \| {CELL}{CELL}[\d.]+ \| 0.50 \|", table(output, "Bulk jobs a second"))


def test_what_a_killed_part_costs_those_who_wait_is_measured(output: str) -> None:
    assert re.search(r"\| sink \| [\d.]+ .*\| [\d.]+ .*\| [\d.]+ .*\|", table(output, "A part is killed"))


def test_what_a_purge_costs_those_who_submit_is_measured_and_what_it_gives_back() -> None:
    output = run_benchmark("retention", "--rounds", "1", "--shorten", "500")

    assert re.search(r"\| p99 \| [\d.,]+ .*\| [\d.,]+ .*\| [\d.]+ \|", output)
    for way in (
        "days given back",
        "direct producers' jobs deleted",
        "the same at the pace",
        "direct producers' jobs looked",
    ):
        assert re.search(rf"\| {way}.* \| [\d.,]+ \| [\d.,]+ \| [\d.,]+ \|", output)
    assert re.search(r"\| before \| [\d.,]+ \| [\d.,]+ \|", output)


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="there may be a GPU")
def test_without_a_gpu_its_measurement_says_why_there_is_none() -> None:
    assert run_benchmark("gpu") == (
        "gpu: not measured: this ONNX Runtime has no CUDA: install Penstock with its extra onnx-gpu in place of onnx\n"
    )
