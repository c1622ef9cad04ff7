"""The loop of one run, and what it stands on."""
