"""What is trained for each row: the options of `rubout train`, by table and scale."""

from __future__ import annotations

from benchmarks import adversarial_oracle
from benchmarks.common import options_of

SEEDS = {"smoke": 2, "cpu": 3, "full": 3}
LEARNERS = (
    "mle",
    "psi_mle",
    "cot",
    "seqgan",
    "maligan",
    "rankgan",
    "leakgan",
    "behavioural_cloning",
    "sequence_match",
)

_PSI = {
    "smoke": {"mle_updates": 10, "warmup": 5},
    "cpu": {"mle_updates": 300, "warmup": 200},
    "full": {"mle_updates": 4000, "warmup": 500, "network.filters": "official"},
}
_PSI_RUN = {
    "smoke": {"updates": 20, "evaluate_every": 10},
    "cpu": {"updates": 1500, "evaluate_every": 100},
    "full": {"updates": 18840, "evaluate_every": 471, "evaluate_sequences": 5000},
}
_BACKSPACE_RUN = {
    "smoke": {"updates": 20, "evaluate_every": 10},
    "cpu": {"updates": 480, "evaluate_every": 60},
    "full": {"updates": 4710, "evaluate_every": 471, "evaluate_sequences": 5000},
}


def oracle(learner: str, scale: str, seed: int) -> list[str]:
    """A run of one of `LEARNERS` on the oracle: embedding and hidden state of 32."""
    if learner == "psi_mle":
        return psi_mle(0.5, scale, seed)
    if learner not in ("behavioural_cloning", "sequence_match"):
        return adversarial_oracle.command(learner, scale, seed)
    run = _BACKSPACE_RUN[scale]
    options: dict[str, object] = {"lr": 0.01, "noise.rate": 0.02}
    if learner == "sequence_match":
        options |= {"bc_updates": run["updates"] // 2, "anneal_updates": run["updates"] // 4}
    words = [*_common(learner, scale, seed), "--env.backspace"]
    return words + options_of("learner.", options) + options_of("", run)


def psi_mle(mixture: float, scale: str, seed: int) -> list[str]:
    """A run of psi-MLE on the oracle; a mixture of 1 is MLE."""
    options = {"mixture": mixture, **_PSI[scale]}
    words = _common("psi_mle", scale, seed) + options_of("learner.", options)
    return words + options_of("", _PSI_RUN[scale])


def _common(learner: str, scale: str, seed: int) -> list[str]:
    shared = adversarial_oracle.SCALES[scale]
    words = ["--seed", str(seed), "--task", "oracle", "--learner", learner, "--policy", "lstm"]
    return words + options_of("task.", shared["task"]) + options_of("policy.", shared["policy"])
