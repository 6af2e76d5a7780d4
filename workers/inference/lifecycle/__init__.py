"""Which versions are served, loaded, checked, evicted."""
