"""What evaluations read: samples of a policy, references of a task, and samples as JSON."""

from __future__ import annotations

from typing import Any

import torch

from rubout.policy import Policy
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors
from rubout.task import Codec, Task
from rubout.types import Sequences, Trajectories

_PROBABILITIES = 2**20  # of one step, at a time: few enough to stay near the processor


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
        for part in request.split(max(64, _PROBABILITIES // policy.space.size))
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
