"""What is searched: one Python file a search space."""
