"""What every process needs to live: settings, logs, metrics, health, lifecycle, back-off."""
