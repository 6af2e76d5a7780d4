"""`penstock models`: what is served, and whether a worker can serve what lies in a folder."""
