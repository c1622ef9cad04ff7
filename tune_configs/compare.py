"""Learners against each other on a small oracle, each with its own defaults, over rates and seeds.

    rubout tune tune_configs/compare.py

Nothing is stopped early: an objective that starts slowly would be thrown out for it.
"""

from rubout.search import Choice, Integer, LogUniform, Search, Uniform
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "updates": 1000,
    },
    space={
        "learner": Choice(("mle", "psi_mle", "cot", "seqgan", "maligan")),
        "learner.lr": LogUniform(1e-3, 2e-2),
        "policy.dropout": Uniform(0.0, 0.5),
        "seed": Integer(0, 99),
    },
    metric="nll_validation",
    scheduler=None,
    num_samples=20,
    smoke={
        **SMOKE,
    },
)
