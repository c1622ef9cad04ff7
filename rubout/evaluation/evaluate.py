"""One policy beside the reference rows: the table every run ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubout.evaluation import backspaces, truth
from rubout.evaluation.draws import continuations, draw, head
from rubout.evaluation.estimate import Estimate, difference, mean_of
from rubout.evaluation.nll import nll
from rubout.evaluation.quality import Yardstick
from rubout.evaluation.references import uniform, unigram
from rubout.policy import Policy
from rubout.task import Task
from rubout.types import Trajectories


@dataclass(frozen=True)
class Row:
    """One policy's figures.

    Attributes:
        name: of the policy.
        figures: `nll_test` in nats per action, those of `rubout.evaluation.truth` where the truth
            is known, a task's own scores as shares, those of `rubout.evaluation.backspaces` where
            the policy has one, and those of `rubout.evaluation.quality` where they are asked for.
    """

    name: str
    figures: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name} | {key: value.to_json() for key, value in self.figures.items()}


def evaluate(
    policy: Policy,
    task: Task,
    num_samples: int = 1000,
    max_sequences: int = 0,
    seed: int = 0,
    temperature: float = 1.0,
    baselines: Mapping[str, Policy] | None = None,
    *,
    references: bool = True,
    yardstick: Yardstick | None = None,
) -> list[Row]:
    """The policy, its baselines, the oracle where there is one, a unigram model and a uniform one.

    Args:
        policy: on any device.
        task: its test split is scored; its training split counts unigrams.
        num_samples: sequences drawn from each row for NLL_oracle, for the task's own score and for
            the figures of the backspace.
        max_sequences: most test sequences; 0: all.
        seed: of the samples.
        temperature: of the first row, in sampling and in scoring alike.
        baselines: other policies for the same task, by the names of their rows.
        references: whether those that need no training have rows.
        yardstick: adds its figures to the first row and the baselines', and training data as a
            reference.
    """
    test = head(task.split("test"), max_sequences)
    rows = []
    for name, one in {"model": policy, **(baselines or {})}.items():
        own = temperature if name == "model" else 1.0
        found = figures(one, task, test, num_samples, seed, own)
        if yardstick is not None:
            found |= yardstick.of_policy(one, seed, own)
        rows.append(Row(name, found))
    if references:
        if yardstick is not None:
            rows.append(Row("training data", yardstick.of_training_data()))
        for name, one in reference_rows(task).items():
            rows.append(Row(name, figures(one, task, test, num_samples, seed)))
    return rows


def reference_rows(task: Task) -> dict[str, Policy]:
    """What needs no training: the oracle where there is one, unigrams, uniform actions."""
    oracle = task.oracle()
    found: dict[str, Policy] = {} if oracle is None else {"oracle": oracle}
    found["unigram"] = unigram(task.space, task.split("train"))
    found["uniform"] = uniform(task.space)
    return found


def paired(rows: Sequence[Row]) -> dict[str, dict[str, Estimate]]:
    """The first row minus each of the others, sequence by sequence.

    Test sequences are the same in all rows, and samples of one number were typed by the same
    random draws, so that what rows have in common cancels.

    Returns:
        by the other row's name, the differences of the figures that both are made of alike.
    """
    first = rows[0].figures
    found: dict[str, dict[str, Estimate]] = {}
    for row in rows[1:]:
        found[row.name] = {
            name: difference(first[name], other)
            for name, other in row.figures.items()
            if name in first and first[name].sizes == other.sizes
        }
    return found


def figures(
    policy: Policy,
    task: Task,
    test: Trajectories,
    num_samples: int,
    seed: int,
    temperature: float = 1.0,
) -> dict[str, Estimate]:
    """What a row has: see `Row`. All figures of samples are of the same draws."""
    found = {"nll_test": nll(policy, test, temperature=temperature)}
    oracle, drawn = task.oracle(), None
    if oracle is not None:
        drawn = draw(policy, num_samples, seed, temperature=temperature)
        found |= truth.figures(policy, oracle, drawn, test, temperature)
    if test.prompts is not None:
        asked = head(test, num_samples)
        drawn = draw(policy, len(asked), seed, asked.prompts, temperature)
        for name, values_B in task.score(drawn, continuations(task, asked)).items():
            found[name] = mean_of(values_B)
    if policy.space.backspace:
        if drawn is None:
            drawn = draw(policy, num_samples, seed, temperature=temperature)
        found |= backspaces.of_samples(policy.space, drawn)
        found |= backspaces.of_test_data(policy, task, test, temperature)
    return found
