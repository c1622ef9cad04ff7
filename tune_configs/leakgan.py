"""LeakGAN on a small oracle: its rates, how far a goal looks ahead, and how many goals there are.

rubout tune tune_configs/leakgan.py
"""

from rubout.search import Asha, Choice, LogUniform, Search
from tune_configs.common import ORACLE, ROUNDS, SMOKE, SMOKE_ROUNDS

search = Search(
    base={
        **ORACLE,
        **ROUNDS,
        "learner": "leakgan",
    },
    space={
        "learner.lr": LogUniform(5e-4, 1e-2),
        "learner.generator-lr": LogUniform(1e-4, 5e-3),
        "learner.discriminator-lr": LogUniform(1e-5, 1e-3),
        "policy.goal": Choice((8, 16, 32)),
        "policy.horizon": Choice((2, 4, 5)),
        "learner.rescale": Choice(("rank", "none")),
    },
    metric="nll_validation",
    scheduler=Asha(grace=4, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
        **SMOKE_ROUNDS,
        "learner.pretraining-rounds": 1,
        "policy.discriminator.embedding": 8,
    },
)
