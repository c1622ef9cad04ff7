"""What was typed in each of B envs, as `Trajectories`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rubout.keys import TapeState
from rubout.types import ActionSpace, Sequences, Trajectories


class ActionLog:
    """Actions and rewards by row; what lies beyond a row's number of actions is never read.

    Args:
        space: what the actions mean; its action limit is the width.
        num_rows: B.
        device: where the log lies.
        keep_rewards: whether rewards are logged, too.
    """

    def __init__(
        self,
        space: ActionSpace,
        num_rows: int,
        device: torch.device | str,
        *,
        keep_rewards: bool,
    ) -> None:
        # One column more: rows that have reached the limit and rest write there.
        shape = (num_rows, space.action_limit + 1)
        self._actions_BT = torch.zeros(shape, dtype=torch.int64, device=device)
        self._rewards_BT = torch.zeros(shape, device=device) if keep_rewards else None

    def begin(self, rows_B: Tensor, prefixes: Sequences) -> None:
        """Log what the chosen rows (bool [B]) start with, earning nothing."""
        width = prefixes.tokens_BL.shape[1]
        chosen_B1 = rows_B.unsqueeze(1)
        start_BP = self._actions_BT[:, :width]
        start_BP.copy_(torch.where(chosen_B1, prefixes.tokens_BL, start_BP))
        if self._rewards_BT is not None:
            self._rewards_BT[:, :width].masked_fill_(chosen_B1, 0)

    def write(self, columns_B: Tensor, actions_B: Tensor, rewards_B: Tensor) -> None:
        """Log one action a row, and what it earned by itself."""
        columns_B1 = columns_B.unsqueeze(1)
        self._actions_BT.scatter_(1, columns_B1, actions_B.unsqueeze(1))
        if self._rewards_BT is not None:
            self._rewards_BT.scatter_(1, columns_B1, rewards_B.unsqueeze(1))

    def add_rewards(self, rows_R: Tensor, rewards_RT: Tensor) -> None:
        """Add what was earned in hindsight by some rows (int64 [R])."""
        assert self._rewards_BT is not None
        self._rewards_BT[rows_R, : rewards_RT.shape[1]] += rewards_RT

    def trajectories(
        self,
        tape: TapeState,
        terminated_B: Tensor,
        *,
        has_prompts: bool,
        rows_R: Tensor | None = None,
        policy_version: int = 0,
        log_probs_BT: Tensor | None = None,
    ) -> Trajectories:
        """The log so far, trimmed to the widest row.

        Args:
            tape: where the rows stand; says how many actions are real, and the prompts.
            terminated_B: bool, which rows ended by themselves.
            has_prompts: whether to add the prompts.
            rows_R: int64, only these rows; None: all.
            policy_version: that typed it.
            log_probs_BT: float32, a column for each action of the log; None: zeros.
        """
        rows = slice(None) if rows_R is None else rows_R
        counts_B = tape.num_actions_B[rows].clone()
        width = int(counts_B.max())
        padding_BT = torch.arange(width, device=counts_B.device) >= counts_B.unsqueeze(1)

        def cut(values: Tensor) -> Tensor:
            values = functional.pad(values[rows], (0, max(0, width - values.shape[1])))
            return values[:, :width].masked_fill(padding_BT, 0)

        return Trajectories(
            actions_BT=cut(self._actions_BT),
            log_probs_BT=torch.zeros(padding_BT.shape, device=padding_BT.device)
            if log_probs_BT is None
            else cut(log_probs_BT.float()),
            num_actions_B=counts_B,
            terminated_B=terminated_B[rows].clone(),
            policy_version_B=torch.full_like(counts_B, policy_version),
            prompts=tape[rows].prompts() if has_prompts else None,
            rewards_BT=None
            if self._rewards_BT is None or rows_R is not None
            else cut(self._rewards_BT),
        )
