"""`penstock init`: a model repository with an example to start from."""
