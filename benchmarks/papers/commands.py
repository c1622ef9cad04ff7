"""What is trained for each row: the options of `rubout train`, by learner, scale and seed."""

from __future__ import annotations

from pathlib import Path

from benchmarks import adversarial_oracle
from benchmarks.common import options_of

SEEDS = {"smoke": 2, "cpu": 3, "full": 3}
ORACLE_LEARNERS = (
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
TEXT_LEARNERS = ("mle", "psi_mle", "seqgan", "maligan", "leakgan")

_Options = dict[str, object]
_PSI: dict[str, _Options] = {
    "smoke": {"mle_updates": 10, "warmup": 5},
    "cpu": {"mle_updates": 300, "warmup": 200},
    "full": {"mle_updates": 4000, "warmup": 500, "network.filters": "official"},
}
_PSI_RUN: dict[str, _Options] = {
    "smoke": {"updates": 20, "evaluate_every": 10},
    "cpu": {"updates": 1500, "evaluate_every": 100},
    "full": {"updates": 18840, "evaluate_every": 471, "evaluate_sequences": 5000},
}
_BACKSPACE_RUN: dict[str, dict[str, int]] = {
    "smoke": {"updates": 20, "evaluate_every": 10},
    "cpu": {"updates": 480, "evaluate_every": 60},
    "full": {"updates": 4710, "evaluate_every": 471, "evaluate_sequences": 5000},
}


def oracle(learner: str, scale: str, seed: int) -> list[str]:
    """A run of one of `ORACLE_LEARNERS` on the oracle: embedding and hidden state of 32."""
    if learner == "psi_mle":
        return psi_mle(0.5, scale, seed)
    if learner not in ("behavioural_cloning", "sequence_match"):
        return adversarial_oracle.command(learner, scale, seed)
    run = _BACKSPACE_RUN[scale]
    options: _Options = {"lr": 0.01, "noise.rate": 0.02}
    if learner == "sequence_match":
        options |= {"bc_updates": run["updates"] // 2, "anneal_updates": run["updates"] // 4}
    words = [*_on_oracle(learner, scale, seed), "--env.backspace"]
    return words + options_of("learner.", options) + options_of("", run)


def psi_mle(mixture: float, scale: str, seed: int) -> list[str]:
    """A run of psi-MLE on the oracle; a mixture of 1 is MLE."""
    options = {"mixture": mixture, **_PSI[scale]}
    words = _on_oracle("psi_mle", scale, seed) + options_of("learner.", options)
    return words + options_of("", _PSI_RUN[scale])


def _on_oracle(learner: str, scale: str, seed: int) -> list[str]:
    shared = adversarial_oracle.SCALES[scale]
    words = ["--seed", str(seed), "--task", "oracle", "--learner", learner, "--policy", "lstm"]
    return words + options_of("task.", shared["task"]) + options_of("policy.", shared["policy"])


_TEXT: dict[str, dict[str, _Options]] = {
    "smoke": {
        "policy": {"embedding": 8, "hidden": 8},
        "discriminator": {"embedding": 8},
        "mle": {"updates": 4, "evaluate_every": 2},
        "psi_mle": {"mle_updates": 2, "warmup": 1},
        "rounds": {"mle": 4, "warmup": 2, "rounds": 2, "discriminator": 1, "completions": 2},
    },
    "cpu": {
        "policy": {"embedding": 128, "hidden": 128, "dropout": 0.3},
        "discriminator": {},
        "mle": {"updates": 1000, "evaluate_every": 100},
        "psi_mle": {"mle_updates": 600, "warmup": 100},
        "rounds": {"mle": 600, "warmup": 100, "rounds": 40, "discriminator": 2, "completions": 8},
    },
    "full": {
        "policy": {"embedding": 256, "hidden": 512, "dropout": 0.3},
        "discriminator": {"filters": "official"},
        "mle": {"updates": 12560, "evaluate_every": 157},
        "psi_mle": {"mle_updates": 3140, "warmup": 500},
        "rounds": {
            "mle": 3140,
            "warmup": 1000,
            "rounds": 200,
            "discriminator": 15,
            "completions": 16,
        },
    },
}


def text(learner: str, scale: str, seed: int, train: Path | None, test: Path | None) -> list[str]:
    """A run of one of `TEXT_LEARNERS` on a corpus; without files, on that of `python-docs`.

    Args:
        learner: one of them.
        scale: of network and schedule.
        seed: of the run.
        train: one sentence a line.
        test: the same.
    """
    size = _TEXT[scale]
    words = ["--seed", str(seed), "--learner", learner]
    words += ["--policy", "leakgan" if learner == "leakgan" else "lstm"]
    if train is None:
        words += ["--task", "python-docs"]
    else:
        words += ["--task", str(train), "--task.test", str(test)]
    run, options, policy = dict(size["mle"]), {}, dict(size["policy"])
    if learner == "psi_mle":
        options = dict(size["psi_mle"])
    if learner not in ("mle", "psi_mle"):
        rounds: dict[str, int] = size["rounds"]  # type: ignore[assignment]
        options = {
            "mle_updates": rounds["mle"],
            "discriminator_warmup": rounds["warmup"],
            "discriminator_updates": rounds["discriminator"],
        }
        if learner == "seqgan":
            options |= {"completions": rounds["completions"], "baseline": "batch"}
        if learner != "leakgan":
            options |= {"generator_lr": 0.001}
        a_round = 1 + rounds["discriminator"] + (learner == "leakgan")  # which has one of MLE
        updates = rounds["mle"] + rounds["warmup"] + rounds["rounds"] * a_round
        run |= {"updates": updates}
        home = "policy.discriminator" if learner == "leakgan" else "learner.discriminator"
        words += options_of(f"{home}.", size["discriminator"])
    if learner == "leakgan":
        policy.pop("dropout", None)
    words += options_of("learner.", options) + options_of("policy.", policy)
    return words + options_of("", run)
