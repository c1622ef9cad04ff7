"""Table 1 of the psi-MLE paper: every learner on the oracle, best over temperatures.

    python -m benchmarks.papers.table1 --scale smoke|cpu|full [--jobs 2] [--learners mle,cot]

The paper's columns are minima over a sweep of temperatures, so each is of another temperature;
beside them stand both figures at temperature 1 and the area that the sweep dominates. Runs that are
finished under --out are not run again.
"""

from __future__ import annotations

from benchmarks.papers import commands, oracle, runs

PUBLISHED = {  # Song et al. 2020, table 1, over the sweeps of Caccia et al.
    "mle": "5.53 / 7.58 / 16.28",
    "psi_mle": "5.09 / 7.56 / 15.98",
    "cot": "6.20 / 7.56 / 16.32",
    "seqgan": "8.12 / 7.92 / 18.44",
    "leakgan": "10.01 / 8.52 / 19.45",
}


def main() -> None:
    """See the module."""
    parser = runs.parser(__doc__.splitlines()[0])
    known = commands.ORACLE_LEARNERS
    parser.add_argument("--learners", default=",".join(known), help="some of them")
    options = parser.parse_args()
    learners = options.learners.split(",")
    for learner in learners:
        if learner not in known:
            parser.error(f"unknown learner {learner!r}; there are {', '.join(known)}")
    seeds = range(commands.SEEDS[options.scale])
    rows = {
        name: [commands.oracle(name, options.scale, seed) for seed in seeds] for name in learners
    }
    oracle.table("psi-MLE's table 1, the oracle", rows, PUBLISHED, options, "table1")


if __name__ == "__main__":
    main()
