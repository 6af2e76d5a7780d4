"""Network architectures that safetensors weights are loaded into. Ours stand here, others come by entry points."""
