"""The notifier: sends what became of jobs to whoever wants to be told, and tries again what fails."""
