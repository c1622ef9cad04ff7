"""Programs that print tables and ratios; run them as `python -m benchmarks.NAME`."""
