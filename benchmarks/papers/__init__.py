"""Tables of papers, run again: published values and ours side by side."""
