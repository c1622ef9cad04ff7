"""The learning rate of maximum likelihood, evolved while it trains (population-based training).

    rubout tune tune_configs/schedule.py

The worst trials take over the weights of the best and go on with other options.
"""

from rubout.search import LogUniform, PopulationBased, Search
from tune_configs.common import ORACLE, SMOKE

search = Search(
    base={
        **ORACLE,
        "learner": "mle",
        "updates": 800,
        "evaluate-every": 50,
    },
    space={
        "learner.lr": LogUniform(1e-4, 3e-2),
        "learner.weight-decay": LogUniform(1e-6, 1e-2),
    },
    metric="nll_validation",
    scheduler=PopulationBased(every=2),
    num_samples=8,
    smoke={
        **SMOKE,
    },
)
