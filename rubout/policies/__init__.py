"""Networks that type: one file a kind, and the machinery they share."""
