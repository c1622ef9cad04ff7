"""Where real sequences come from: one file a task."""
