"""One key at a time: what stands on the tape, what may be pressed, what a key does.

Actions that are illegal where they stand (an env accepts any) leave the tape as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from rubout.types import ActionSpace, Legality, Sequences


@dataclass(frozen=True, slots=True)
class TapeState:
    """B tapes between two keys.

    Attributes:
        tokens_BL: int64 [B, L], what stands on the tape, 0 beyond its end.
        length_B: int64 [B], tokens on the tape, prompt included.
        prompt_length_B: int64 [B], how many of them cannot be rubbed out.
        num_actions_B: int64 [B], keys pressed.
        num_backspaces_B: int64 [B], deletions among them.
        rubbed_B: int64 [B], the token that the last key rubbed out, -1 if it did not.
    """

    tokens_BL: Tensor
    length_B: Tensor
    prompt_length_B: Tensor
    num_actions_B: Tensor
    num_backspaces_B: Tensor
    rubbed_B: Tensor

    def __getitem__(self, rows: slice | Tensor) -> TapeState:
        """Some of the tapes; one may be there many times."""
        return TapeState(*(getattr(self, field.name)[rows] for field in fields(self)))

    @staticmethod
    def cat(parts: Sequence[TapeState]) -> TapeState:
        """All tapes of several batches."""
        names = [field.name for field in fields(TapeState)]
        return TapeState(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def prompts(self) -> Sequences:
        """What cannot be rubbed out: what the tapes start with."""
        tokens_BL = self.tokens_BL[:, : int(self.prompt_length_B.max())]
        prompts = Sequences(tokens_BL, self.prompt_length_B)
        return Sequences(tokens_BL.masked_fill(~prompts.mask_BL, 0), self.prompt_length_B.clone())

    def legality(self, space: ActionSpace) -> Legality:
        """What may be pressed now, shape [B]."""
        return space.legality(
            self.length_B, self.prompt_length_B, self.num_backspaces_B, self.rubbed_B
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """What one key did to each of B tapes: bool [B] each, all False for an illegal key."""

    typed_B: Tensor
    rubbed_B: Tensor
    ended_B: Tensor

    def __getitem__(self, rows: Tensor) -> Keys:
        """Those of some of the tapes."""
        return Keys(self.typed_B[rows], self.rubbed_B[rows], self.ended_B[rows])


def blank(
    space: ActionSpace, batch_size: int, prompts: Sequences | None, device: torch.device | str
) -> TapeState:
    """B tapes that hold nothing but their prompts.

    Raises:
        ValueError: a prompt fills the tape or holds ids that are not tokens.
    """
    zeros = torch.zeros(batch_size, dtype=torch.int64, device=device)
    tokens = torch.zeros(batch_size, space.max_length, dtype=torch.int64, device=device)
    lengths = zeros
    if prompts is not None:
        if len(prompts) != batch_size:
            raise ValueError(f"{len(prompts)} prompts for {batch_size} sequences")
        lengths = prompts.lengths_B.to(device)
        given = prompts.tokens_BL.to(device).masked_fill(~prompts.mask_BL.to(device), 0)
        if int(lengths.max()) >= space.max_length:
            raise ValueError(
                f"a prompt of {int(lengths.max())} tokens fills the tape of {space.max_length}"
            )
        if bool(((given < 0) | (given >= space.num_tokens)).any()):
            raise ValueError("a prompt holds ids that are not tokens")
        width = min(given.shape[1], space.max_length)
        tokens[:, :width] = given[:, :width]
    return TapeState(tokens, lengths, lengths, zeros, zeros, torch.full_like(zeros, -1))


def press(
    space: ActionSpace,
    state: TapeState,
    actions_B: Tensor,
    active_B: Tensor | None = None,
    legality_B: Legality | None = None,
) -> tuple[TapeState, Keys]:
    """Press one key on each tape.

    Args:
        space: what the actions mean.
        state: the tapes.
        actions_B: int64 [B], any value; what is illegal changes nothing but the count.
        active_B: bool [B]; where False nothing is pressed. None: everywhere.
        legality_B: that of the tapes, where it is known.

    Returns:
        the tapes after, and what each key did.
    """
    legal = state.legality(space) if legality_B is None else legality_B
    active = torch.ones_like(legal.token) if active_B is None else active_B
    typed = (actions_B >= 0) & (actions_B < space.num_tokens) & active & legal.token
    if space.forbid_redo:
        typed &= actions_B != legal.forbidden
    rubbed = ended = torch.zeros_like(active)
    if space.eos:
        ended = active & (actions_B == space.eos_id)
    slot = state.length_B.clamp(max=space.max_length - 1)
    if space.backspace:
        rubbed = active & legal.backspace & (actions_B == space.backspace_id)
        slot = torch.where(rubbed, state.length_B - 1, slot)

    slot_B1 = slot.unsqueeze(1)
    old = state.tokens_BL.gather(1, slot_B1).squeeze(1)
    length, num_backspaces, last = state.length_B + typed, state.num_backspaces_B, state.rubbed_B
    new = torch.where(typed, actions_B, old)
    if space.backspace:
        deleted = rubbed.long()
        length, num_backspaces = length - deleted, num_backspaces + deleted
        last = torch.where(rubbed, old, last.masked_fill(active, -1))
        new = new.masked_fill(rubbed, 0)
    after = TapeState(
        tokens_BL=state.tokens_BL.scatter(1, slot_B1, new.unsqueeze(1)),
        length_B=length,
        prompt_length_B=state.prompt_length_B,
        num_actions_B=state.num_actions_B + active,
        num_backspaces_B=num_backspaces,
        rubbed_B=last,
    )
    return after, Keys(typed, rubbed, ended)


def is_over(
    space: ActionSpace, state: TapeState, keys: Keys, ended_B: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Whether the episodes are over after this key: (terminated, truncated), bool [B] each.

    Terminated at `<eos>`, or where there is none, on a full tape; truncated at the action limit.

    Args:
        space: what the actions mean.
        state: the tapes after the key.
        keys: what it did.
        ended_B: bool [B], which had ended at `<eos>` before and were not pressed since; or None.
    """
    terminated = keys.ended_B if space.eos else state.length_B >= space.max_length
    if ended_B is not None:
        terminated = terminated | ended_B
    return terminated, (state.num_actions_B >= space.action_limit) & ~terminated
