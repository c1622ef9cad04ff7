"""One policy beside the reference rows: the table every run ends with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rubout.evaluation import backspaces
from rubout.evaluation.estimate import Estimate, mean_of, per_action
from rubout.evaluation.nll import log_likelihoods, nll
from rubout.evaluation.references import uniform, unigram
from rubout.policy import Policy
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.task import Codec, Task
from rubout.types import Sequences, Trajectories

_BATCH = 250


@dataclass(frozen=True)
class Row:
    """One policy's figures.

    Attributes:
        name: of the policy.
        figures: `nll_test` and `nll_oracle` in nats per action, a task's own scores as shares, and
            those of `rubout.evaluation.backspaces` where the policy has one.
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
    """
    test = head(task.split("test"), max_sequences)
    plain = task.space
    oracle = task.oracle()
    rows = [Row("model", figures(policy, task, test, num_samples, seed, temperature))]
    for name, other in (baselines or {}).items():
        rows.append(Row(name, figures(other, task, test, num_samples, seed)))
    if oracle is not None:
        rows.append(Row("oracle", figures(oracle, task, test, num_samples, seed)))
    for name, reference in (
        ("unigram", unigram(plain, task.split("train"))),
        ("uniform", uniform(plain)),
    ):
        rows.append(Row(name, figures(reference, task, test, num_samples, seed)))
    return rows


def figures(
    policy: Policy,
    task: Task,
    test: Trajectories,
    num_samples: int,
    seed: int,
    temperature: float = 1.0,
) -> dict[str, Estimate]:
    """NLL_test; NLL_oracle where the truth is known; the task's own score where it has one.

    A policy with a backspace has figures on that as well, of the same draws.
    """
    found = {"nll_test": nll(policy, test, temperature=temperature)}
    drawn = None
    if task.oracle() is not None:
        drawn = draw(policy, num_samples, seed, temperature=temperature)
        found["nll_oracle"] = nll_oracle(policy, task, drawn)
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


def nll_oracle(policy: Policy, task: Task, drawn: Trajectories) -> Estimate:
    """Mean NLL per token of what was left of some samples, under the truth."""
    oracle = task.oracle()
    assert oracle is not None
    sequences = survivors(policy.space, drawn).to("cpu")
    text = written(oracle.space, sequences)
    return per_action(-log_likelihoods(oracle, text), text.num_actions_B)


def draw(
    policy: Policy,
    count: int,
    seed: int,
    prompts: Sequences | None = None,
    temperature: float = 1.0,
    suppress: tuple[int, ...] = (),
    prefixes: Sequences | None = None,
) -> Trajectories:
    """Samples for evaluation, on the CPU: the same for the same seed.

    `prefixes` are actions typed before the policy goes on: see `rubout.rollout.sampler.Request`.
    """
    device = next(policy.parameters()).device
    sampler = Sampler(policy, device=device)
    request = Request(seed_of(seed, "evaluation"), 0, count, prompts, prefixes)
    parts = [
        sampler.sample(part, temperature, suppress=suppress).to("cpu")
        for part in request.split(_BATCH)
    ]
    return Trajectories.cat(parts)


def continuations(task: Task, trajectories: Trajectories) -> Sequences:
    """What an expert wrote after its prompts, without `<eos>`."""
    lengths = trajectories.num_actions_B - int(task.space.eos)
    sequences = Sequences(trajectories.actions_BT, lengths)
    return Sequences(sequences.tokens_BL.masked_fill(~sequences.mask_BL, 0), lengths)


def head(trajectories: Trajectories, count: int) -> Trajectories:
    """The first `count`; 0: all."""
    return trajectories[:count] if count else trajectories


def sample_records(policy: Policy, codec: Codec, drawn: Trajectories) -> list[dict[str, Any]]:
    """Samples as JSON: the text that was left, and every action that led to it."""
    left = survivors(policy.space, drawn).lists()
    log_probs = torch.where(drawn.mask_BT, drawn.log_probs_BT, 0.0).sum(1).tolist()
    records = []
    for row, tokens in enumerate(left):
        length = int(drawn.num_actions_B[row])
        records.append(
            {
                "text": codec.decode(tokens),
                "log_prob": log_probs[row],
                "terminated": bool(drawn.terminated_B[row]),
                "actions": drawn.actions_BT[row, :length].tolist(),
            }
        )
    return records
