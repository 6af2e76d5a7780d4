"""Many jobs at once: reading them from a file, writing them to the requests topic, collecting their results."""
