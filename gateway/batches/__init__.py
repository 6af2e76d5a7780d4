"""Files and batches, as OpenAI's clients know them."""
