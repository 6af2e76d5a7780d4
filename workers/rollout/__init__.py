"""The controller of rollouts: keeps what workers have counted of each version, judges by it, and writes routes."""
