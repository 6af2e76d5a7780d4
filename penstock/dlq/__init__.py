"""`penstock dlq`: looking through dead letters, and deciding what becomes of each."""
