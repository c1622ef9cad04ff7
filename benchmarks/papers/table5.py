"""Table 5 of the psi-MLE paper: the share of real data in the mixture, on the oracle.

    python -m benchmarks.papers.table5 --scale smoke|cpu|full [--jobs 2]

Every run is `rubout train --learner psi_mle --learner.mixture m`; m = 1 is MLE exactly. All share
network, data and number of updates. Columns as in table 1.
"""

from __future__ import annotations

from benchmarks.papers import commands, oracle, runs

PUBLISHED = {  # Song et al. 2020, table 5
    0.0: "7.60 / 8.01 / 17.43",
    0.25: "6.23 / 7.91 / 16.27",
    0.5: "5.09 / 7.56 / 15.98",
    0.75: "5.63 / 7.54 / 15.94",
    1.0: "5.53 / 7.60 / 16.30",
}


def main() -> None:
    """See the module."""
    options = runs.parser(__doc__.splitlines()[0]).parse_args()
    mixtures = (0.5, 1.0) if options.scale == "smoke" else tuple(PUBLISHED)
    rows = {
        name(mixture): [
            commands.psi_mle(mixture, options.scale, seed)
            for seed in range(commands.SEEDS[options.scale])
        ]
        for mixture in mixtures
    }
    published = {name(mixture): figures for mixture, figures in PUBLISHED.items()}
    oracle.table("psi-MLE's table 5, mixtures", rows, published, options, "table5")


def name(mixture: float) -> str:
    """Of a row; that of the default mixture is shared with table 1."""
    return "psi_mle" if mixture == 0.5 else f"psi_mle m={mixture:g}"


if __name__ == "__main__":
    main()
