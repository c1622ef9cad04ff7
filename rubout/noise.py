"""Slips: a wrong token now and then, and the backspace that takes it back.

A transform of action logs. With probability `rate` the env types a wrong token u in the place of
the intended action a; the expert rubs it out and types a, which does not slip again:

    a   becomes   u <backspace> a

Where the environment is to blame, the label of u is a: that is what was meant there. The other
reading takes u for the expert's own action and so teaches a policy to slip as well. Under the first
and uniform slips, the share of arrivals in a state s u after which the expert rubs out is

    p(<backspace> | s u) = rate / (rate + V P_data(u | s))

Source: Cundy and Ermon, "SequenceMatch" (ICLR 2024), whose text names the idea, not the process:
one slip an action at most, one token deep, is our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rubout.tape import replay
from rubout.types import ActionSpace, Trajectories

Slips = Literal["random", "plausible"]
Blame = Literal["environment", "expert"]


@dataclass(frozen=True, slots=True)
class Noise:
    """How often slips happen, of which kind, and whose they are.

    Attributes:
        rate: probability that an action slips.
        kind: u is any token, uniformly, or one that the task holds for plausible.
        blame: whether a slip is the environment's or the expert's own action.
    """

    rate: float = 0.0
    kind: Slips = "random"
    blame: Blame = "environment"


def inject(
    space: ActionSpace, data: Trajectories, noise: Noise, chances_BT: Tensor, slips_BT: Tensor
) -> Trajectories:
    """Let some of an expert's actions slip.

    Nothing slips where no token can be typed, where the slip would break the rules of the space
    (`forbid_redo`), or beyond what the limits on actions and backspaces leave room for.

    Args:
        space: with a backspace.
        data: what the expert meant.
        noise: how often and whose.
        chances_BT: float32 [B, T], uniform on [0, 1); those below the rate slip.
        slips_BT: int64 [B, T], the token that a slip would type.

    Returns:
        the logs with slips and deletions, up to 2 T actions wider.
    """
    assert space.backspace, "slips need a backspace to take them back"
    actions = data.actions_BT
    assert chances_BT.shape == slips_BT.shape == actions.shape
    slipped = data.mask_BT & (chances_BT < noise.rate) & _can_slip(space, data, slips_BT)
    deletions_B = (data.mask_BT & (actions == space.backspace_id)).sum(1)
    room_B = (space.action_limit - data.num_actions_B) // 2
    if space.max_backspaces is not None:
        room_B = torch.minimum(room_B, space.max_backspaces - deletions_B)
    slipped &= slipped.cumsum(1) <= room_B.unsqueeze(1)
    if not bool(slipped.any()):
        return data

    extra = 2 * slipped.long()
    first = torch.arange(actions.shape[1], device=actions.device) + extra.cumsum(1) - extra
    width = actions.shape[1] + 2 * int(slipped.sum(1).max())

    rows, steps = slipped.nonzero(as_tuple=True)
    places = first[rows, steps]

    def put(typed: Tensor, slips: Tensor) -> Tensor:
        """Actions at their new places, and slips before their deletions."""
        out = typed.new_zeros(len(typed), width).scatter(1, first + extra, typed)
        out[rows, places] = slips[rows, steps]
        out[rows, places + 1] = space.backspace_id
        return out

    typed = put(actions, slips_BT)
    intended = data.intended_BT
    if noise.blame == "environment" or intended is not None:
        meant = data.labels_BT
        intended = put(meant, meant if noise.blame == "environment" else slips_BT)
    assert data.rewards_BT is None, "an expert's log has no rewards"
    return replace(
        data,
        actions_BT=typed,
        log_probs_BT=data.log_probs_BT.new_zeros(typed.shape),
        num_actions_B=data.num_actions_B + extra.sum(1),
        intended_BT=intended,
    )


def _can_slip(space: ActionSpace, data: Trajectories, slips_BT: Tensor) -> Tensor:
    """Where the action is a token or `<eos>` and the slip a legal token, bool [B, T]."""
    tape = replay(space, data)
    legality = tape.legality_BS
    forbidden_BT = legality.forbidden[:, :-1]
    can = legality.token[:, :-1] & (data.actions_BT != space.backspace_id)
    can = can & (slips_BT != forbidden_BT)
    if not space.eos:  # a slip on the last place would end the episode
        lengths_BS = tape.depths_BN.gather(1, tape.states_BS)
        can = can & (lengths_BS[:, :-1] < space.max_length - 1)
    if space.forbid_redo:  # taken back, it could not be typed again
        can = can & (slips_BT != data.actions_BT)
    return can
