"""How a policy is taught: one file a paper."""
