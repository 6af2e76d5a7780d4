"""Models of other servers, and of scikit-learn, brought into a model repository."""
