"""Copies of jobs that run on a shadow version, and what comparing the answers finds: see docs/routing.md.

`copying` makes them where a job has succeeded, `comparing` holds both answers against each other where the copy has
run, `findings` adds up what that gave and tells it. `bounds` are the bounds of all that, and `shadows` is what lanes
see of it.
"""
