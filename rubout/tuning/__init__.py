"""Searching options with Ray Tune: trials are ordinary runs."""
