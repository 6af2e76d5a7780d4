"""The files of models, and what they say."""
