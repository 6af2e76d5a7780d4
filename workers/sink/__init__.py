"""The sink: makes the ends of jobs durable, wakes those who wait for them, and ends what nobody else has ended."""
