"""`penstock batch`: files of many requests, run in bulk."""
