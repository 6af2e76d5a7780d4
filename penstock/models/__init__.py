"""`penstock models`: what is served, and the life of model versions."""
