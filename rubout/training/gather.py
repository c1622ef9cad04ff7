"""The action logs of all learners of a group, put together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rubout.learner import Group
from rubout.types import EARNED, Sequences, Trajectories


def gather(group: Group, part: Trajectories, width: int) -> Trajectories:
    """One batch of every learner's part, in the order of their ranks; all must ask.

    Args:
        group: the learners.
        part: this one's; all have the same number of rows.
        width: at least that of the widest part.
    """
    if group.size == 1:
        return part

    def whole(value: Tensor, columns: int | None = None) -> Tensor:
        """The rows of all learners, in order of rank, made so many columns wide."""
        if columns is not None:
            value = functional.pad(value, (0, columns - value.shape[1]))
        rows = value.shape[0]
        sent = value.new_zeros(
            (rows * group.size, *value.shape[1:]),
            dtype=torch.int64 if value.dtype == torch.bool else value.dtype,
        )
        sent[rows * group.rank : rows * (group.rank + 1)] = value
        return group.sum(sent).to(value.dtype)

    prompts = part.prompts
    if prompts is not None:
        prompts = Sequences(whole(prompts.tokens_BL, width), whole(prompts.lengths_B))
    earned = {
        name: whole(value, width) for name in EARNED if (value := getattr(part, name)) is not None
    }
    reports = {name: whole(value) for name, value in (part.reports or {}).items()}
    # Slips may be in one part and not in another: all must send the same tensors.
    slips = torch.tensor(int(part.intended_BT is not None), device=part.actions_BT.device)
    slipped = bool(group.sum(slips) > 0)
    return Trajectories(
        actions_BT=whole(part.actions_BT, width),
        log_probs_BT=whole(part.log_probs_BT, width),
        num_actions_B=whole(part.num_actions_B),
        terminated_B=whole(part.terminated_B),
        policy_version_B=whole(part.policy_version_B),
        prompts=prompts,
        reports=reports or None,
        intended_BT=whole(part.labels_BT, width) if slipped else None,
        **earned,
    ).trimmed()
