"""What the search spaces share: a small oracle, and how to see that everything works."""

from rubout.search import Value

ORACLE: dict[str, Value] = {
    "task": "oracle",
    "task.vocabulary": 200,
    "task.train": 1000,
    "task.validation": 1000,
    "task.test": 2000,
    "policy.embedding": 32,
    "policy.hidden": 32,
    "evaluate-every": 100,
    # All sequences, so that `rubout evaluate` gives the figures of the table.
    "evaluate-sequences": 0,
}

SMOKE: dict[str, Value] = {
    "task.vocabulary": 20,
    "task.train": 100,
    "task.validation": 50,
    "task.test": 50,
    "policy.embedding": 8,
    "policy.hidden": 8,
    "batch-size": 8,
    "updates": 8,
    "evaluate-every": 2,
}

ROUNDS: dict[str, Value] = {
    "learner.mle-updates": 200,
    "learner.discriminator-warmup": 100,
    "updates": 600,
}

SMOKE_ROUNDS: dict[str, Value] = {
    "learner.mle-updates": 2,
    "learner.discriminator-warmup": 2,
    "learner.discriminator-steps": 1,
}
