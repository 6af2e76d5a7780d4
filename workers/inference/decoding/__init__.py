"""Records of a lane become jobs that can be collected; texts become tokens."""
