"""CoT on a small oracle: both learning rates, and the mediator's size.

rubout tune tune_configs/cot.py
"""

from rubout.search import Asha, Choice, LogUniform, Search, Uniform
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "learner": "cot",
        "updates": 1500,
        "evaluate-every": 150,
    },
    space={
        "learner.lr": LogUniform(3e-4, 1e-2),
        "learner.mediator-lr": LogUniform(3e-4, 1e-2),
        "learner.mediator.hidden": Choice((32, 64, 128)),
        "learner.mediator.dropout": Uniform(0.0, 0.6),
        "learner.mediator-steps": Choice((1, 2)),
    },
    metric="nll_validation",
    scheduler=Asha(grace=2, factor=3),
    num_samples=16,
    smoke={
        **SMOKE,
        "learner.mediator.embedding": 8,
    },
)
