"""How many rows run best together."""
