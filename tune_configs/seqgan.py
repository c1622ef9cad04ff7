"""SeqGAN on a small oracle: how fast generator and discriminator learn, and how often.

rubout tune tune_configs/seqgan.py
"""

from rubout.search import Asha, Choice, Integer, LogUniform, Search
from tune_configs.common import ORACLE, ROUNDS, SMOKE, SMOKE_ROUNDS

search = Search(
    base={
        **ORACLE,
        **ROUNDS,
        "learner": "seqgan",
    },
    space={
        "learner.generator-lr": LogUniform(1e-4, 1e-2),
        "learner.discriminator-lr": LogUniform(1e-5, 1e-3),
        "learner.discriminator-updates": Integer(1, 10),
        "learner.completions": Choice((4, 8, 16)),
        "learner.baseline": Choice(("none", "batch")),
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
