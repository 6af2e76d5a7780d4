"""Models turned into a form that runs no code when it is loaded."""
