"""The few central types.

Dimensions, in the suffix of a name: B sequences, T actions, S = T + 1 states, L tokens on the tape,
V tokens in the vocabulary, A actions (V and the specials), N nodes of a tape, D hidden units.
Everything is padded on the right; masks are True where real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

Index = slice | Tensor
# Those fields of Trajectories that data do not have: float32 [B, T], 0 on padding, or None.
EARNED = ("rewards_BT", "action_values_BT", "value_errors_BT")


@dataclass(frozen=True, slots=True)
class Legality:
    """Which actions a state allows, in compact form; any leading shape.

    Attributes:
        token: bool, a token may be typed (the tape is not full).
        backspace: bool, there is something to rub out.
        forbidden: int64, the one token that may not be typed here, -1 where there is none.
    """

    token: Tensor
    backspace: Tensor
    forbidden: Tensor

    def __getitem__(self, index: Index) -> Legality:
        return Legality(self.token[index], self.backspace[index], self.forbidden[index])


@dataclass(frozen=True, slots=True)
class ActionSpace:
    """What can be typed, and what is legal when.

    Ids 0..V-1 are tokens; `<eos>` and `<backspace>` are optional and follow in this order. A
    sequence ends at `<eos>`, or, where there is none, as soon as the tape is full.

    Attributes:
        num_tokens: V.
        max_length: L, the most tokens on the tape, prompt included.
        max_actions: the most actions in an episode, deletions included; None: just enough to fill
            the tape and end, twice that where there is a backspace.
        eos: whether sequences end by an action of their own.
        backspace: whether the last token can be rubbed out.
        forbid_redo: the token just rubbed out may not be typed again at once.
        max_backspaces: the most deletions in an episode; None: no limit but max_actions.
    """

    num_tokens: int
    max_length: int
    max_actions: int | None = None
    eos: bool = True
    backspace: bool = False
    forbid_redo: bool = False
    max_backspaces: int | None = None

    def __post_init__(self) -> None:
        if self.num_tokens < 1 or self.max_length < 1:
            raise ValueError("an action space needs at least one token and a length of at least 1")
        if self.max_actions is not None and self.max_actions < 1:
            raise ValueError("max_actions must be at least 1")
        if self.forbid_redo and self.num_tokens < 2:
            raise ValueError("forbid_redo needs at least two tokens")

    @property
    def size(self) -> int:
        """A: tokens and specials."""
        return self.num_tokens + int(self.eos) + int(self.backspace)

    @property
    def eos_id(self) -> int:
        """The action `<eos>`; -1 where there is none."""
        return self.num_tokens if self.eos else -1

    @property
    def backspace_id(self) -> int:
        """The action `<backspace>`; -1 where there is none."""
        return self.num_tokens + int(self.eos) if self.backspace else -1

    @property
    def start_id(self) -> int:
        """What a policy reads before the first token; not an action."""
        return self.num_tokens

    @property
    def action_limit(self) -> int:
        """The most actions in an episode."""
        if self.max_actions is not None:
            return self.max_actions
        return (self.max_length + int(self.eos)) * (2 if self.backspace else 1)

    def legality(
        self, length: Tensor, prompt_length: Tensor, num_backspaces: Tensor, rubbed: Tensor
    ) -> Legality:
        """What is legal in states of any shape: the only place where this is decided.

        Args:
            length: int64, tokens on the tape, prompt included.
            prompt_length: int64, tokens of the prompt, which cannot be rubbed out.
            num_backspaces: int64, deletions so far.
            rubbed: int64, the token that the last action rubbed out, -1 if it did not.

        Returns:
            the legality of each state; `<eos>`, where it exists, is always legal.
        """
        token = length < self.max_length
        backspace = length > prompt_length if self.backspace else torch.zeros_like(token)
        if self.backspace and self.max_backspaces is not None:
            backspace = backspace & (num_backspaces < self.max_backspaces)
        forbidden = rubbed if self.forbid_redo else torch.full_like(rubbed, -1)
        return Legality(token, backspace, forbidden)

    def mask(self, legality: Legality) -> Tensor:
        """The full mask, bool [..., A]: True where the action is legal."""
        shape = (*legality.token.shape, self.num_tokens)
        tokens = legality.token.unsqueeze(-1).expand(shape)
        if self.forbid_redo:
            ids = torch.arange(self.num_tokens, device=tokens.device)
            tokens = tokens & (ids != legality.forbidden.unsqueeze(-1))
        columns = [tokens]
        if self.eos:
            columns.append(torch.ones_like(legality.token).unsqueeze(-1))
        if self.backspace:
            columns.append(legality.backspace.unsqueeze(-1))
        return torch.cat(columns, dim=-1)

    def mask_illegal_(self, logits_MA: Tensor, legality_M: Legality) -> Tensor:
        """Set the logits of illegal actions to -inf, in place; touches only what it must."""
        if self.backspace:
            logits_MA[:, self.backspace_id].masked_fill_(~legality_M.backspace, -torch.inf)
        if self.eos:
            full = (~legality_M.token).nonzero().squeeze(1)
            if len(full):
                logits_MA[:, : self.num_tokens].index_fill_(0, full, -torch.inf)
        if self.forbid_redo:
            rows = (legality_M.forbidden >= 0).nonzero().squeeze(1)
            logits_MA[rows, legality_M.forbidden[rows]] = -torch.inf
        return logits_MA


def _pad_to(tensor: Tensor, width: int) -> Tensor:
    return functional.pad(tensor, (0, width - tensor.shape[1]))


class _Batch:
    """What the batch types share: moving, slicing."""

    __slots__ = ()

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return self._map(lambda value: value.to(device))

    def __getitem__(self, index: Index) -> Self:
        """Some of the sequences: a slice, a bool mask [B] or int64 indices."""
        return self._map(lambda value: value[index])

    def _map(self, change: Callable[[Any], Any]) -> Self:
        def changed_of(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: change(item) for name, item in value.items()}
            return change(value)

        changed = {
            field.name: changed_of(value)
            for field in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **changed)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class Sequences(_Batch):
    """Finished text.

    Attributes:
        tokens_BL: int64 [B, L], 0 on padding.
        lengths_B: int64 [B].
    """

    tokens_BL: Tensor
    lengths_B: Tensor

    def __len__(self) -> int:
        return len(self.lengths_B)

    @property
    def mask_BL(self) -> Tensor:
        """bool [B, L], True on real tokens."""
        places = torch.arange(self.tokens_BL.shape[1], device=self.tokens_BL.device)
        return places < self.lengths_B.unsqueeze(1)

    @staticmethod
    def of(rows: Sequence[Sequence[int]]) -> Sequences:
        """From lists of token ids."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        tokens = torch.zeros(len(rows), int(lengths.max()) if len(rows) else 0, dtype=torch.int64)
        for row, ids in enumerate(rows):
            tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return Sequences(tokens, lengths)

    @staticmethod
    def cat(parts: Sequence[Sequences]) -> Sequences:
        """One batch of several, padded to the widest."""
        width = max(part.tokens_BL.shape[1] for part in parts)
        return Sequences(
            torch.cat([_pad_to(part.tokens_BL, width) for part in parts]),
            torch.cat([part.lengths_B for part in parts]),
        )

    def lists(self) -> list[list[int]]:
        """As lists of token ids."""
        rows = zip(self.tokens_BL.tolist(), self.lengths_B.tolist(), strict=True)
        return [row[:length] for row, length in rows]


@dataclass(frozen=True, slots=True)
class Trajectories(_Batch):
    """What was typed, backspaces included. What was left is `rubout.tape.survivors`.

    Attributes:
        actions_BT: int64 [B, T], 0 on padding.
        log_probs_BT: float32 [B, T], log-probability under the policy that typed it, 0 on padding
            and for expert data.
        num_actions_B: int64 [B].
        terminated_B: bool [B], ended by itself (False: cut off at the action limit).
        policy_version_B: int64 [B], the version that typed it; -1 for expert data.
        prompts: what stood on the tape before the first action, or None.
        rewards_BT: float32 [B, T], 0 on padding, or None.
        action_values_BT: float32 [B, T], what is earned from each action on, in the mean over
            Monte-Carlo completions of the prefix that ends with it; 0 on padding, or None.
        value_errors_BT: float32 [B, T], the standard errors of those means; 0 where nothing was
            estimated, where one completion is all there is, and on padding, or None.
        reports: float32 [B] by name, what the reward reports of each sequence, or None.
        intended_BT: int64 [B, T], what the typist meant where a slip typed `actions_BT` instead;
            0 on padding. None: everything was meant as typed.
    """

    actions_BT: Tensor
    log_probs_BT: Tensor
    num_actions_B: Tensor
    terminated_B: Tensor
    policy_version_B: Tensor
    prompts: Sequences | None = None
    rewards_BT: Tensor | None = None
    action_values_BT: Tensor | None = None
    value_errors_BT: Tensor | None = None
    reports: dict[str, Tensor] | None = None
    intended_BT: Tensor | None = None

    def __len__(self) -> int:
        return len(self.num_actions_B)

    @property
    def labels_BT(self) -> Tensor:
        """int64 [B, T], the actions whose probability counts: those that were meant."""
        return self.actions_BT if self.intended_BT is None else self.intended_BT

    @property
    def mask_BT(self) -> Tensor:
        """bool [B, T], True on real actions."""
        steps = torch.arange(self.actions_BT.shape[1], device=self.actions_BT.device)
        return steps < self.num_actions_B.unsqueeze(1)

    @staticmethod
    def cat(parts: Sequence[Trajectories]) -> Trajectories:
        """One batch of several, padded to the widest; all or none have each optional field."""
        width = max(part.actions_BT.shape[1] for part in parts)
        slips = any(part.intended_BT is not None for part in parts)

        def wide(name: str) -> Tensor | None:
            found = _all_or_none(parts, name)
            return torch.cat([_pad_to(part, width) for part in found]) if found else None

        prompts = _all_or_none(parts, "prompts")
        reports = _all_or_none(parts, "reports")
        names = reports[0].keys() if reports else ()
        return Trajectories(
            actions_BT=torch.cat([_pad_to(part.actions_BT, width) for part in parts]),
            log_probs_BT=torch.cat([_pad_to(part.log_probs_BT, width) for part in parts]),
            num_actions_B=torch.cat([part.num_actions_B for part in parts]),
            terminated_B=torch.cat([part.terminated_B for part in parts]),
            policy_version_B=torch.cat([part.policy_version_B for part in parts]),
            prompts=Sequences.cat(prompts) if prompts else None,
            reports={name: torch.cat([part[name] for part in reports]) for name in names} or None,
            intended_BT=torch.cat([_pad_to(part.labels_BT, width) for part in parts])
            if slips
            else None,
            **{name: wide(name) for name in EARNED},
        )

    def trimmed(self) -> Trajectories:
        """The same without columns that are padding in every row."""
        width = int(self.num_actions_B.max())

        def cut(tensor_BT: Tensor | None) -> Tensor | None:
            return None if tensor_BT is None else tensor_BT[:, :width]

        return replace(
            self,
            actions_BT=self.actions_BT[:, :width],
            log_probs_BT=self.log_probs_BT[:, :width],
            intended_BT=cut(self.intended_BT),
            rewards_BT=cut(self.rewards_BT),
            action_values_BT=cut(self.action_values_BT),
            value_errors_BT=cut(self.value_errors_BT),
        )

    def unpaid(self) -> Trajectories:
        """The same without what was earned, which data do not have."""
        return replace(
            self, rewards_BT=None, action_values_BT=None, value_errors_BT=None, reports=None
        )


def _all_or_none(parts: Sequence[Trajectories], name: str) -> list[Any]:
    found = [value for part in parts if (value := getattr(part, name)) is not None]
    if len(found) not in (0, len(parts)):
        raise ValueError(f"either all trajectories have {name} or none has")
    return found
