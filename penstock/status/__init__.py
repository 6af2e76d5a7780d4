"""`penstock status`: what runs, and what is wrong with it."""
