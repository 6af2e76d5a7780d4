"""The benchmarks run, in short: their figures are not judged here, only that they come about."""

import asyncio
import os
import re
import sys
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).parents[3]


async def run_benchmark(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", *arguments),
        cwd=ROOT,
        # Whole stacks start sooner without the model that needs torch.
        env=os.environ | {"PENSTOCK_WORKER_MODELS": "digits/1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


async def test_the_worker_is_measured_beside_the_model_alone_and_beside_the_naive_loop() -> None:
    output = await run_benchmark("worker", "--rounds", "1", "--shorten", "40", "--only", "digits, linear, a row")

    assert re.search(r"\| digits, linear, a row a job \| [\d,.]+ ", output)
    assert re.search(r"\| 5 \| [\d,.]+ .*\| [\d,.]+ .*\| [\d.]+ \|", output)


CELL = r"[\d.,]+ \([\d.,]+ to [\d.,]+\) \| "


async def test_latency_is_measured_on_a_fresh_stack_with_the_processor_time_of_each_part() -> None:
    output = await run_benchmark("latency", "--rounds", "1", "--shorten", "20", "--only", "waiting, 100")

    assert re.search(rf"\| waiting, 100 jobs/s \| now \| {CELL}{CELL}6 / 12 \| 0 \| ", output)
    assert re.search(r"\| waiting, 100 jobs/s \| now( \| [\d.,]+){9} \|", output), "every part took processor time"


async def test_jobs_that_end_are_counted_in_postgres() -> None:
    output = await run_benchmark("throughput", "--rounds", "1", "--shorten", "20")

    assert re.search(rf"\| now \| {CELL}{CELL}{CELL}{CELL}", output)


async def test_processor_time_is_divided_by_part_and_cause() -> None:
    output = await run_benchmark("causes", "--rounds", "1", "--shorten", "10")

    assert re.search(r"\| gateway( \| [\d.,]+){6} \|  \| [\d.,]+ \|", output)
    assert re.search(r"\| Kafka( \| ){6} \| [\d.,]+ \| [\d.,]+ \|", output)


async def test_durable_submits_of_one_gateway_and_of_two_are_counted_in_postgres_and_kafka() -> None:
    output = await run_benchmark("submit", "--rounds", "1", "--shorten", "16")

    assert re.search(rf"\| {CELL}{CELL}[\d.]+ \|", output)
    assert re.search(rf"\| submits/s \| {CELL}{CELL}[\d.]+ \|", output)
    assert re.search(r"\| 2 gateways( \| [\d.,]+){6} \|", output)


@pytest.mark.parametrize(
    ("what", "only", "line"),
    [
        ("poison", "lookup", r"\| lookup .*\| [\d,.]+ .*\| [\d.]+ \| [\d,.]+ .*\| [\d.]+ \|"),
        ("division", "10.0%", r"\| 10\.0% \| [\d.]+ .*\| [\d.]+ \|"),
        ("broker", "both compilers, serial", r"\| both compilers, serial collector( \| [\d,.]+ \([^)]*\)){11} \|"),
        ("clients", "librdkafka", r"\| librdkafka, in a thread( \| [\d,.]+ \([^)]*\)){6} \|"),
        ("scaling", "", r"\| 2 \| [\d,.]+ .*\| [\d,.]+ \| [\d.]+ \|"),
    ],
)
async def test_what_the_worker_promises_is_measured(what: str, only: str, line: str) -> None:
    assert re.search(line, await run_benchmark(what, "--rounds", "1", "--shorten", "20", "--only", only))


async def test_live_jobs_under_a_backlog_are_measured_and_what_they_leave_to_it() -> None:
    output = await run_benchmark("priority", "--rounds", "1", "--shorten", "20", "--only", "10")

    assert re.search(rf"\| 10 \| {CELL}{CELL}{CELL}{CELL}[\d.]+ \|", output)
    assert re.search(rf"\| 10 \| {CELL}{CELL}[\d.]+ \| 0.50 \|", output)


async def test_what_a_killed_part_costs_those_who_wait_is_measured() -> None:
    output = await run_benchmark("recovery", "--rounds", "1", "--shorten", "20", "--only", "sink")

    assert re.search(r"\| sink \| [\d.]+ .*\| [\d.]+ .*\| [\d.]+ .*\|", output)


async def test_what_a_purge_costs_those_who_submit_is_measured_and_what_it_gives_back() -> None:
    output = await run_benchmark("retention", "--rounds", "1", "--shorten", "500")

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
async def test_without_a_gpu_its_measurement_says_why_there_is_none() -> None:
    assert await run_benchmark("gpu") == (
        "gpu: not measured: this ONNX Runtime has no CUDA: install Penstock with its extra onnx-gpu in place of onnx\n"
    )
