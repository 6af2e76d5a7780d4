"""What the whole stack is shown by: a package, since pytest ends what such a folder shares as soon as it leaves it."""
