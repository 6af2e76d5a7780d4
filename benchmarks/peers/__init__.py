"""The same batched lookup in other systems, each a program for an environment of its own (requirements.txt)."""
