"""`penstock run`: one input in whatever form it is, run by a model, and its answer shown."""
