"""How rows of the vectorised env start: prompts, prefixes, restarts, and reading what was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.common import Array
from rubout.keys import TapeState, is_over, press
from rubout.types import ActionSpace, Sequences


def restart(tape: TapeState, rows_B: Tensor) -> TapeState:
    """Tapes whose chosen rows (bool [B]) hold nothing but their prompts again."""
    places = torch.arange(tape.tokens_BL.shape[1], device=rows_B.device)
    cleared_BL = rows_B.unsqueeze(1) & (places >= tape.prompt_length_B.unsqueeze(1))
    return TapeState(
        tokens_BL=tape.tokens_BL.masked_fill(cleared_BL, 0),
        length_B=torch.where(rows_B, tape.prompt_length_B, tape.length_B),
        prompt_length_B=tape.prompt_length_B,
        num_actions_B=tape.num_actions_B.masked_fill(rows_B, 0),
        num_backspaces_B=tape.num_backspaces_B.masked_fill(rows_B, 0),
        rubbed_B=tape.rubbed_B.masked_fill(rows_B, -1),
    )


def choose(rows_B: Tensor, ones: TapeState, others: TapeState) -> TapeState:
    """The chosen rows (bool [B]) of one batch of tapes, the rest of the other."""
    return TapeState(
        tokens_BL=torch.where(rows_B.unsqueeze(1), ones.tokens_BL, others.tokens_BL),
        length_B=torch.where(rows_B, ones.length_B, others.length_B),
        prompt_length_B=torch.where(rows_B, ones.prompt_length_B, others.prompt_length_B),
        num_actions_B=torch.where(rows_B, ones.num_actions_B, others.num_actions_B),
        num_backspaces_B=torch.where(rows_B, ones.num_backspaces_B, others.num_backspaces_B),
        rubbed_B=torch.where(rows_B, ones.rubbed_B, others.rubbed_B),
    )


def type_prefixes(space: ActionSpace, tape: TapeState, prefixes: Sequences) -> TapeState:
    """Press the keys of each row's prefix.

    Raises:
        ValueError: a prefix holds ids that are not actions, or ends an episode.
    """
    actions_BP, lengths_B = prefixes.tokens_BL, prefixes.lengths_B
    if bool(((actions_BP < 0) | (actions_BP >= space.size)).any()):
        raise ValueError("a prefix holds ids that are not actions")
    over_B = torch.zeros_like(lengths_B, dtype=torch.bool)
    for step in range(actions_BP.shape[1]):
        tape, keys = press(space, tape, actions_BP[:, step], step < lengths_B)
        terminated_B, truncated_B = is_over(space, tape, keys)
        over_B = over_B | terminated_B | truncated_B
    if bool(over_B.any()):
        row = int(over_B.nonzero()[0])
        raise ValueError(f"the prefix of env {row} ends the episode by itself")
    return tape


def read_rows(options: Mapping[str, Any], name: str, rows_B: Tensor) -> Sequences | None:
    """An option with one sequence for each env, emptied where the row (bool [B]) does not start.

    Returns:
        the sequences, 0 on padding; None without the option.
    """
    rows = options.get(name)
    if rows is None:
        return None
    if len(rows) != len(rows_B):
        raise ValueError(f"options[{name!r}] has {len(rows)} rows for {len(rows_B)} envs")
    given = (rows if isinstance(rows, Sequences) else Sequences.of(rows)).to(rows_B.device)
    lengths_B = given.lengths_B.masked_fill(~rows_B, 0)
    chosen = Sequences(given.tokens_BL[:, : int(lengths_B.max())], lengths_B)
    return Sequences(chosen.tokens_BL.masked_fill(~chosen.mask_BL, 0), lengths_B)


def read_mask(mask: Array, num_envs: int, device: torch.device) -> Tensor:
    """The option `reset_mask`, bool [B]; refused as SyncVectorEnv refuses it."""
    is_array = isinstance(mask, np.ndarray | Tensor)
    if not is_array or str(mask.dtype) not in ("bool", "torch.bool"):
        raise TypeError("options['reset_mask'] must be a bool array or tensor")
    if tuple(mask.shape) != (num_envs,):
        raise ValueError(
            f"options['reset_mask'] must have shape ({num_envs},), got {tuple(mask.shape)}"
        )
    if not mask.any():
        raise ValueError("options['reset_mask'] must have at least one True")
    return torch.as_tensor(mask, device=device)


def read_actions(actions: Array, num_envs: int, device: torch.device) -> Tensor:
    """Actions as int64 [B]."""
    actions_B = torch.as_tensor(actions, device=device)
    if actions_B.shape != (num_envs,) or actions_B.is_floating_point():
        raise ValueError(
            f"expected {num_envs} integer actions, got {tuple(actions_B.shape)} of "
            f"{actions_B.dtype}"
        )
    return actions_B.long()
