"""How the batches of records that we send may be packed."""

from typing import Literal

Compression = Literal["none", "zstd", "lz4"]
