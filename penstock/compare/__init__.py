"""`penstock compare`: versions of a model side by side, in a terminal and as a page."""
