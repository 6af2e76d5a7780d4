"""`penstock rollout`: a version that gets more and more of a model's traffic, started, watched and ended over HTTP."""
