"""What Penstock costs and gives, measured side by side with what one would do without it."""
