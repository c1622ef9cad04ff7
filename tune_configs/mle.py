"""Maximum likelihood on a small oracle: learning rate, dropout, batch.

rubout tune tune_configs/mle.py
"""

from rubout.search import Asha, Choice, LogUniform, Search, Uniform
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "learner": "mle",
        "updates": 800,
    },
    space={
        "learner.lr": LogUniform(1e-3, 3e-2),
        "policy.dropout": Uniform(0.0, 0.6),
        "batch-size": Choice((32, 64, 128)),
        "learner.weight-decay": LogUniform(1e-6, 1e-2),
    },
    metric="nll_validation",
    scheduler=Asha(grace=1, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
    },
)
