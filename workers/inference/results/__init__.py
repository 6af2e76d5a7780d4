"""What becomes of a job, and its record."""
