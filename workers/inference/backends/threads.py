"""How many threads a model gets where model.yaml does not say."""

import math
import os
from collections.abc import MutableMapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

# Below this many bytes of weights, handing parts of a micro-batch to threads costs more than it saves: a row through
# the digits' conv net takes ONNX Runtime 24 us on one thread and 35 us on two.
SMALL_MODEL_BYTES: Final = 1024 * 1024

CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


# What libraries ask for the number of threads of their pools: OpenMP (torch, scikit-learn), MKL and OpenBLAS (numpy,
# SciPy), Rayon (tokenizers), NumExpr, joblib's processes.
POOLS: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def bound_pools(environ: MutableMapping[str, str], cores: int) -> None:
    """Let no library start more threads than there are `cores` for this process, unless `environ` says otherwise.

    To be called with `os.environ` before a runtime is imported; child processes inherit it. Numpy is there already, and
    is told by threadpoolctl, which comes with scikit-learn.
    """
    for pool in POOLS:
        environ.setdefault(pool, str(cores))
    if find_spec("threadpoolctl") is not None:
        import threadpoolctl  # noqa: PLC0415 - few workers have it

        threadpoolctl.threadpool_limits(cores)


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
