"""Random draws that depend on what is drawn, not on when or in whose batch.

Every draw is a hash of (seed, sequence, step): no generator state to save, the same on any device,
and the same however sequences are split into batches or spread over actors.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from rubout.errors import UserError

_MASK = (1 << 64) - 1


def seed_of(*parts: int | str) -> int:
    """A seed in 0..2^63-1 made of anything that names a purpose: (run seed, "rollout", update)."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def uniforms(seed: int, sequences_B: Tensor, step: int) -> Tensor:
    """One number for each sequence at one step.

    Args:
        seed: 0..2^63-1.
        sequences_B: int64 [B], the numbers of the sequences.
        step: the action's number.

    Returns:
        float32 [B], uniform on [0, 1) in steps of 2^-24.

    Source: splitmix64 (Steele, Lea and Flood 2014), in int64 arithmetic that wraps around.
    """
    key = (seed + 0x9E3779B97F4A7C15 * (step + 1)) & _MASK
    bits = _mix(sequences_B * _signed(0xD1342543DE82EF95) + _signed(_mix_int(key)))
    return _shift_right(bits, 40).float() * 2.0**-24


def inverse_cdf(probs_BA: Tensor, uniforms_B: Tensor) -> Tensor:
    """Draw one action per row: the first whose cumulative probability exceeds the number.

    Args:
        probs_BA: float32 [B, A], not negative, each row's sum positive (it need not be 1).
        uniforms_B: float32 [B] in [0, 1).

    Returns:
        int64 [B]; never an action of probability 0.

    Raises:
        UserError: a probability is not finite.
    """
    cdf_BA = probs_BA.cumsum(dim=1)
    total_B = cdf_BA[:, -1]
    if not bool(torch.isfinite(total_B).all()):
        raise UserError(
            "probabilities are not finite: the policy has diverged, or the temperature is too low"
        )
    below = torch.nextafter(total_B, torch.zeros_like(total_B))
    # Rounding must not carry the threshold past the last action of positive probability.
    threshold_B1 = torch.minimum(uniforms_B * total_B, below).unsqueeze(1)
    return torch.searchsorted(cdf_BA, threshold_B1, right=True).squeeze(1)


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
