"""How many threads a model gets where model.yaml does not say."""

import math
import os
from pathlib import Path
from typing import Final

# Below this many bytes of weights, handing parts of a micro-batch to threads costs more than it saves: a row through
# the digits' conv net takes ONNX Runtime 24 us on one thread and 35 us on two.
SMALL_MODEL_BYTES: Final = 1024 * 1024

CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def default_threads(model_bytes: int, cores: int) -> int:
    return 1 if model_bytes < SMALL_MODEL_BYTES else cores


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """Cores this process may use: by its affinity, and by the quota of its container (control groups, version 2).

    Runtimes count the cores of the machine; with a quota of two on a host of 64 their threads throttle each other.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        return cores if quota == "max" else min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
