"""Where truth rests: Postgres (jobs, results, keys) and Redis (what may be lost)."""
