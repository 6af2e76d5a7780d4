"""The role that feeds batches into their lanes, and collects what they gave."""
