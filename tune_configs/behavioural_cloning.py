"""Behavioural cloning with a backspace: how many slips, of which kind, how fast.

rubout tune tune_configs/behavioural_cloning.py
"""

from rubout.search import Asha, Choice, LogUniform, Search, Uniform
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "learner": "behavioural_cloning",
        "env.backspace": True,
        "updates": 800,
    },
    space={
        "learner.noise.rate": LogUniform(1e-3, 1e-1),
        "learner.noise.kind": Choice(("random", "plausible")),
        "learner.lr": LogUniform(1e-3, 3e-2),
        "policy.dropout": Uniform(0.0, 0.6),
    },
    metric="nll_validation",
    scheduler=Asha(grace=1, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
    },
)
