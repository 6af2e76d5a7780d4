"""What runs a model: ONNX Runtime, or torch with safetensors. Each runtime is imported only when a model needs it."""

from workers.inference.backends.loading import load_backend
from workers.inference.backends.protocol import Backend

__all__ = ["Backend", "load_backend"]
