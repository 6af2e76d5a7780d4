"""The loop everybody writes: fetch, predict, send, commit. No error handling, no rebalance, no deadline.

`python -m benchmarks.naive_loop <bootstrap> <lane topic> <results topic> <group> <model.onnx>`, until it is killed.
"""

import asyncio
import json
import sys

import numpy as np
import onnxruntime
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

FETCH_RECORDS = 64


async def loop(bootstrap: str, lane: str, results: str, group: str, model: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    consumer = AIOKafkaConsumer(
        lane, bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=FETCH_RECORDS)
        records = [record for batch in fetched.values() for record in batch]
        if not records:
            continue
        rows = [json.loads(record.value)["inputs"][0]["data"] for record in records]
        image = np.array(rows, dtype=np.float32).reshape(-1, 8, 8)
        outputs = dict(zip(names, session.run(names, {"image": image}), strict=True))
        sends = [
            await producer.send(results, key=record.key, value=json.dumps(_answer(outputs, row)).encode())
            for row, record in enumerate(records)
        ]
        await asyncio.gather(*sends)
        await consumer.commit()


def _answer(outputs: dict[str, np.ndarray], row: int) -> dict[str, object]:
    return {name: array[row].tolist() for name, array in outputs.items()}


if __name__ == "__main__":
    uvloop.run(loop(*sys.argv[1:6]))
