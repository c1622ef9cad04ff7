"""Random draws that depend on what is drawn, not on when or in whose batch.

Every draw is a hash of (seed, sequence, step): no generator state to save, the same on any device,
and the same however sequences are split into batches or spread over actors.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torch.nn import functional

from rubout.errors import UserError
from rubout.policy import Generation
from rubout.types import ActionSpace, Legality

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 64  # actions summed at a time: about the square root of a large vocabulary
# Elements of logits at a time: they are made, read and dropped while a CPU's cache holds them.
_AT_ONCE = {"cpu": 2**19, "cuda": 2**27}
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


def action_probs(
    space: ActionSpace,
    logits_BA: Tensor,
    legality_B: Legality,
    temperature: float = 1.0,
    suppress: list[int] | None = None,
) -> Tensor:
    """What the next actions are drawn from.

    Args:
        space: what the actions mean.
        logits_BA: float32 [B, A]; those of illegal actions become -inf in place.
        legality_B: what each row allows.
        temperature: divides the logits.
        suppress: actions never drawn.

    Returns:
        float32 [B, A].
    """
    logits_BA = space.mask_illegal_(logits_BA, legality_B)
    if suppress:
        logits_BA[:, suppress] = -torch.inf
    if temperature != 1.0:
        logits_BA = logits_BA / temperature
    return torch.softmax(logits_BA, dim=1, out=logits_BA)


def draw(
    space: ActionSpace,
    generation: Generation,
    rows_M: Tensor | None,
    legality_M: Legality,
    uniforms_M: Tensor,
    temperature: float = 1.0,
    suppress: list[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """The next action of some rows, some of them at a time.

    Args:
        space: what the actions mean.
        generation: gives the logits.
        rows_M: int64 [M], which of its rows; None: all.
        legality_M: what each of them allows.
        uniforms_M: float32 [M] in [0, 1).
        temperature: divides the logits.
        suppress: actions never drawn.

    Returns:
        the actions, int64 [M], and their log-probabilities, float32 [M].

    Raises:
        UserError: a probability is not finite.
    """
    size = max(_LEAST_ROWS, _AT_ONCE.get(uniforms_M.device.type, 2**24) // space.size)
    if len(uniforms_M) > size and rows_M is None:
        rows_M = torch.arange(len(uniforms_M), device=uniforms_M.device)
    found = []
    for first in range(0, len(uniforms_M), size):
        part = slice(first, first + size)
        logits_MA = generation.logits(rows_M if rows_M is None else rows_M[part])
        probs_MA = action_probs(space, logits_MA, legality_M[part], temperature, suppress)
        chosen_M = inverse_cdf(probs_MA, uniforms_M[part])
        found.append((chosen_M, probs_MA.gather(1, chosen_M.unsqueeze(1)).squeeze(1)))
    actions_M, probs_M = (torch.cat(parts) for parts in zip(*found, strict=True))
    return actions_M, probs_M.log().float()


def inverse_cdf(weights_BA: Tensor, uniforms_B: Tensor) -> Tensor:
    """Draw one action per row: the first whose cumulative probability exceeds the number.

    Only sums of blocks of actions are accumulated over the row; within a block, and for one block
    a row alone, the actions are. So the row is read once, and no [B, A] is written.

    Args:
        weights_BA: float32 [B, A], not negative, each row's sum positive (it need not be 1).
        uniforms_B: float32 [B] in [0, 1).

    Returns:
        int64 [B]; never an action of weight 0.

    Raises:
        UserError: a weight is not finite.
    """
    num_rows, num_actions = weights_BA.shape
    whole = num_actions - num_actions % _BLOCK
    blocks_BN = weights_BA[:, :whole].view(num_rows, whole // _BLOCK, _BLOCK).sum(2)
    rest_B1 = weights_BA[:, whole:].sum(1, keepdim=True)
    cdf_BN = torch.cat([blocks_BN, rest_B1], dim=1).cumsum(dim=1)
    if not math.isfinite(float(cdf_BN[:, -1].sum(dtype=torch.float64))):
        raise UserError(
            "probabilities are not finite: the policy has diverged, or the temperature is too low"
        )
    threshold_B1 = _below(cdf_BN, uniforms_B.unsqueeze(1) * cdf_BN[:, -1:])
    block_B1 = torch.searchsorted(cdf_BN, threshold_B1, right=True)
    before_B1 = functional.pad(cdf_BN, (1, 0)).gather(1, block_B1)
    places_BK = block_B1 * _BLOCK + torch.arange(_BLOCK, device=weights_BA.device)
    held_BK = weights_BA.gather(1, places_BK.clamp(max=num_actions - 1))
    cdf_BK = held_BK.masked_fill(places_BK >= num_actions, 0.0).cumsum(dim=1)
    inner_B1 = torch.searchsorted(cdf_BK, _below(cdf_BK, threshold_B1 - before_B1), right=True)
    return (block_B1 * _BLOCK + inner_B1).squeeze(1)


def _below(cdf_BN: Tensor, threshold_B1: Tensor) -> Tensor:
    """Rounding must not carry a threshold past the last entry of positive weight."""
    total_B1 = cdf_BN[:, -1:]
    return torch.minimum(threshold_B1, torch.nextafter(total_B1, torch.zeros_like(total_B1)))


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
