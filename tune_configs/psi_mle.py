"""psi-MLE on a small oracle: how much real data, which function, how fast the ratio learns.

rubout tune tune_configs/psi_mle.py
"""

from rubout.search import Asha, Choice, LogUniform, Search, Uniform
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "learner": "psi_mle",
        "learner.mle-updates": 100,
        "learner.warmup": 50,
        "updates": 600,
    },
    space={
        "learner.mixture": Uniform(0.25, 1.0),
        "learner.bregman": Choice(("logistic", "quadratic", "softplus")),
        "learner.lr": LogUniform(1e-3, 3e-2),
        "learner.ratio-lr": LogUniform(1e-5, 1e-3),
    },
    metric="nll_validation",
    scheduler=Asha(grace=1, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
        "learner.mle-updates": 2,
        "learner.warmup": 2,
    },
)
