"""Writes jobs.jsonl beside this file: the first held-out scan of each digit, as `penstock submit` takes it.

python examples/digits/write_jobs.py
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
HELD_OUT = HERE / "held_out.npz"
JOBS = HERE / "jobs.jsonl"


def lines() -> Iterator[str]:
    """One job a digit; the `custom_id` says what it shows."""
    with np.load(HELD_OUT) as data:
        images, labels = data["images"], data["labels"]
    for digit in range(10):
        scan = images[int(np.argmax(labels == digit))].tolist()
        yield json.dumps({"custom_id": f"a {digit}", "instances": [scan]}, separators=(",", ":"))


if __name__ == "__main__":
    JOBS.write_text("".join(f"{line}\n" for line in lines()))
