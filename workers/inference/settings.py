"""What a worker is told by its environment."""

from pathlib import Path

from pydantic import ByteSize, Field

from producers.compression import Compression
from runtime.settings import BlobSettings, KafkaSettings, MemorySettings, ProcessSettings, RedisSettings
from workers.inference.models.platforms import Trust


class WorkerSettings(KafkaSettings, RedisSettings, MemorySettings, BlobSettings, ProcessSettings):
    model_repository: Path = Field(Path("models"), description="folder of models: <model>/<version>/model.onnx ...")
    worker_models: str = Field("*", description="which to serve: `digits`, `digits/2`, `text-*`; separated by commas")
    worker_trust: Trust = Field(
        "data",
        description="`code` runs what models bring as code, where their model.yaml says `trust: code` and pins it",
    )
    worker_device: str = Field("cpu", description="`cpu`, `cuda`, `cuda:<index>`, `GPU-<uuid>` or `auto`")
    worker_watch_interval_s: float = Field(
        3,
        ge=0,
        le=3600,
        description="between two looks at the repository for what has come, gone or changed; 0: none",
    )
    worker_memory_bytes: ByteSize = Field(
        ByteSize(0),
        description="most bytes of model files in memory, as `4GiB`; the least recently used make room. 0: no bound",
    )
    worker_check_interval_s: float = Field(
        60,
        ge=0,
        le=86400,
        description="between two checks that a version still answers its reference rows rightly; 0: none but at loads "
        "and after errors of the device",
    )
    worker_result_compression: Compression = Field("none", description="of result records: none, zstd or lz4")
    lane_partitions: int = Field(12, ge=1, le=1000, description="of a lane's topic, when the worker creates it")

    @property
    def patterns(self) -> list[str]:
        return [pattern.strip() for pattern in self.worker_models.split(",") if pattern.strip()]
