"""SequenceMatch on short text: strength of the penalty, discount, slips, share of own rollouts.

rubout tune tune_configs/sequence_match.py
"""

from rubout.search import Asha, Choice, LogUniform, Search, Uniform

search = Search(
    base={
        "learner": "sequence_match",
        "task": "python-docs",
        "env.backspace": True,
        "policy.hidden": 64,
        "policy.dropout": 0.5,
        "learner.bc-updates": 150,
        "learner.anneal-updates": 100,
        "updates": 500,
        "evaluate-every": 100,
        "evaluate-sequences": 0,
    },
    space={
        "learner.alpha": LogUniform(1e-3, 1.0),
        "learner.gamma": Choice((0.99, 0.995, 0.998)),
        "learner.beta": Uniform(0.05, 0.5),
        "learner.noise.rate": LogUniform(1e-3, 1e-1),
        "learner.lr": LogUniform(1e-3, 1e-2),
    },
    metric="nll_validation",
    scheduler=Asha(grace=2, factor=3),
    num_samples=16,
    smoke={
        "policy.embedding": 8,
        "policy.hidden": 8,
        "batch-size": 8,
        "updates": 8,
        "evaluate-every": 2,
        "evaluate-sequences": 20,
        "learner.bc-updates": 2,
        "learner.anneal-updates": 2,
    },
)
