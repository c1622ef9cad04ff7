"""MaliGAN on a small oracle: rates, weights, and how much of a real sequence begins a sample.

rubout tune tune_configs/maligan.py
"""

from rubout.search import Asha, Choice, Integer, LogUniform, Search
from tune_configs.common import ORACLE, ROUNDS, SMOKE, SMOKE_ROUNDS

search = Search(
    base={
        **ORACLE,
        **ROUNDS,
        "learner": "maligan",
    },
    space={
        "learner.generator-lr": LogUniform(1e-4, 1e-2),
        "learner.discriminator-lr": LogUniform(1e-5, 1e-3),
        "learner.discriminator-updates": Integer(1, 10),
        "learner.weights": Choice(("ratio", "probability")),
        "learner.prefix-start": Choice((0, 10, 20)),
    },
    metric="nll_validation",
    scheduler=Asha(grace=4, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
        **SMOKE_ROUNDS,
        "learner.discriminator.embedding": 8,
    },
)
