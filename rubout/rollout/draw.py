"""Random draws that depend on what is drawn, not on when or in whose batch.

Every draw is a hash of (seed, sequence, step): no generator state to save, the same on any device,
and the same however sequences are split into batches or spread over actors.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rubout.errors import UserError
from rubout.exponentials import LOG2_E
from rubout.policy import Generation
from rubout.products import rows_at_once
from rubout.rollout.inverse_cdf import SUMS, Located, locate, pick
from rubout.types import ActionSpace, Legality

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_STEPS_AT_ONCE = 16
# Elements of logits at a time: they are made, read and dropped while a CPU's cache holds them.
_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}
_LEAST_ROWS = 64  # at a time: for each chunk the whole matrix is read


def seed_of(*parts: int | str) -> int:
    """A seed in 0..2^63-1 made of anything that names a purpose: (run seed, "rollout", update)."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def uniforms(seed: int, sequences_B: Tensor, step: int | Tensor) -> Tensor:
    """One number for each sequence at one step.

    Args:
        seed: 0..2^63-1.
        sequences_B: int64 [B], the numbers of the sequences.
        step: the action's number, or int64 [B].

    Returns:
        float32 [B], uniform on [0, 1) in steps of 2^-24.

    Source: splitmix64 (Steele, Lea and Flood 2014), in int64 arithmetic that wraps around.
    """
    if isinstance(step, Tensor):
        key = _mix((step + 1) * _signed(_GOLDEN) + _signed(seed))
    else:
        key = torch.tensor(_signed(_mix_int((seed + _GOLDEN * (step + 1)) & _MASK)))
    bits = _mix(sequences_B * _signed(0xD1342543DE82EF95) + key.to(sequences_B.device))
    return _shift_right(bits, 40).float() * 2.0**-24


def step_by_step(seed: int, sequences_B: Tensor) -> Iterator[Tensor]:
    """`uniforms` at steps 0, 1 and so on, float32 [B] each, made for some steps at once."""
    for first in itertools.count(step=_STEPS_AT_ONCE):
        steps_T = torch.arange(first, first + _STEPS_AT_ONCE, device=sequences_B.device)
        yield from uniforms(seed, sequences_B, steps_T.unsqueeze(1))


def draw(
    space: ActionSpace,
    generation: Generation,
    rows_M: Tensor | None,
    legality_M: Legality,
    uniforms: Tensor,
    temperature: float = 1.0,
    suppress: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The next action of some rows, drawn once or several times.

    Args:
        space: what the actions mean.
        generation: gives the logits.
        rows_M: int64 [M], which of its rows; None: all.
        legality_M: what each of them allows.
        uniforms: float32 [M] in [0, 1); or [M, N], N draws of each row.
        temperature: divides the logits.
        suppress: actions never drawn.

    Returns:
        the actions, int64, and their log-probabilities, float32, of the shape of `uniforms`.

    Raises:
        UserError: a probability is not finite.
    """
    if rows_M is None:
        rows_M = torch.arange(len(uniforms), device=uniforms.device)
    uniforms_MN = uniforms if uniforms.ndim == 2 else uniforms.unsqueeze(1)
    way = _Way(space, generation, temperature, suppress or [])
    found_D = way.draw(rows_M, legality_M, uniforms_MN)
    actions_D, weights_D, totals_D = found_D
    # Rows with other sums are drawn again, each for itself: whatever the others of its batch are.
    odd = (totals_D.clamp(*SUMS) != totals_D).nonzero().squeeze(1)
    if len(odd):
        of = odd // uniforms_MN.shape[1]
        slow, numbers_D1 = replace(way, fast=False), uniforms_MN.reshape(-1, 1)
        again = slow.draw(rows_M[of], legality_M[of], numbers_D1[odd])
        if not bool(again[2].isfinite().all()):
            raise UserError(
                "probabilities are not finite: the policy has diverged, or the temperature is too "
                "low"
            )
        for all_D, some in zip(found_D, again, strict=True):
            all_D[odd] = some
    log_probs_D = (weights_D / totals_D).log().float()
    return actions_D.view_as(uniforms), log_probs_D.view_as(uniforms)


@dataclass(frozen=True, slots=True)
class _Way:
    """How actions are drawn, by weights that have the ratios of their probabilities.

    Attributes:
        space: what the actions mean.
        generation: gives the logits.
        temperature: divides them.
        suppress: actions never drawn.
        fast: take exponentials of the logits as they are, which may sum to 0 or to infinity; else
            a softmax.
    """

    space: ActionSpace
    generation: Generation
    temperature: float
    suppress: list[int]
    fast: bool = True

    def draw(
        self, rows_M: Tensor, legality_M: Legality, uniforms_MN: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of D = M N draws: actions, int64 [D], their weights [D] and their rows' sums [D]."""
        located, end = [], 0
        elements = _AT_ONCE.get(rows_M.device.type, 2**24)
        size = rows_at_once(len(rows_M), self.space.size, elements=elements, least=_LEAST_ROWS)
        factor = (LOG2_E if self.fast else 1.0) / self.temperature
        for logits_RA in self.generation.scaled_logits(rows_M, size, factor):
            part = slice(end, end := end + len(logits_RA))
            weights_RA = self._weights_(logits_RA, legality_M[part])
            located.append(locate(weights_RA, uniforms_MN[part]))
            del logits_RA, weights_RA  # the next take their place in the cache
        together = Located.cat(located)
        return *pick(together, self.space.size), together.totals_D1.squeeze(1)

    def _weights_(self, logits_RA: Tensor, legality_R: Legality) -> Tensor:
        """In the place of the logits."""
        self.space.mask_illegal_(logits_RA, legality_R)
        if self.suppress:
            logits_RA[:, self.suppress] = -torch.inf
        return logits_RA.exp2_() if self.fast else torch.softmax(logits_RA, 1, out=logits_RA)


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Logical shift: torch shifts the sign bit in."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shift_right(bits, 31)


def _mix_int(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)
