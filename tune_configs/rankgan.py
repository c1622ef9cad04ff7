"""RankGAN on a small oracle: rates, how sharply the ranker tells apart, and by how many.

rubout tune tune_configs/rankgan.py
"""

from rubout.search import Asha, Choice, LogUniform, Search
from tune_configs.common import ORACLE, ROUNDS, SMOKE, SMOKE_ROUNDS

search = Search(
    base={
        **ORACLE,
        **ROUNDS,
        "learner": "rankgan",
        "learner.baseline": "batch",
    },
    space={
        "learner.generator-lr": LogUniform(1e-4, 1e-2),
        "learner.discriminator-lr": LogUniform(1e-5, 1e-3),
        "learner.discriminator.gamma": LogUniform(1.0, 30.0),
        "learner.discriminator.references": Choice((8, 16, 32)),
        "learner.completions": Choice((4, 8, 16)),
    },
    metric="nll_validation",
    scheduler=Asha(grace=4, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
        **SMOKE_ROUNDS,
        "batch-size": 64,  # of which references and comparisons are
        "learner.discriminator.embedding": 8,
    },
)
