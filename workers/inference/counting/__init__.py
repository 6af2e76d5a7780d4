"""What the jobs and runs of each lane add up to, told every few seconds: see `schemas.stats`."""
