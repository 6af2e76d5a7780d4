"""A model in a process of its own, which may crash, hang and use up its memory without taking the worker along."""
