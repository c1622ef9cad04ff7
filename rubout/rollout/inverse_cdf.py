"""Draws by the inverse of a cumulative sum: the first action at which it exceeds a number.

Only sums of blocks of actions are accumulated over the row; within a block, and for one block a row
alone, the actions are. So a row is read once, and no [B, A] is written. It is done in two steps:
`locate` finds each row's block while its weights are in the cache, `pick` the action in it, for all
rows together, when their weights are long dropped.

Source: the inversion method (Devroye 1986, Non-Uniform Random Variate Generation, III.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 64  # actions summed at a time: about the square root of a large vocabulary
# Of a row's weights: its least share that a number can name, 2^-24, is no denormal number.
SUMS = 2.0**-100, 2.0**100
_BELOW_ONE = 1 - 2.0**-24  # the largest float32 below 1: a number times this is the next below it


class Located(NamedTuple):
    """What is left to know of some rows.

    Attributes:
        totals_B1: the sum of each row's weights, of their dtype as the rests and those held.
        starts_B1: int64, the first action of the block.
        rests_B1: by how much the number exceeds what stands before the block.
        held_BK: the weights of the block.
    """

    totals_B1: Tensor
    starts_B1: Tensor
    rests_B1: Tensor
    held_BK: Tensor

    @staticmethod
    def cat(parts: list[Located]) -> Located:
        """The rows of all of them, in order."""
        if len(parts) == 1:
            return parts[0]
        return Located(*(torch.cat(each) for each in zip(*parts, strict=True)))


def locate(weights_BA: Tensor, uniforms_B: Tensor) -> Located:
    """The block of actions in which each row's draw lies.

    Args:
        weights_BA: float [B, A], not negative. Each row's sum should lie within `SUMS`: of others
            nothing is right but this sum.
        uniforms_B: float32 [B] in [0, 1).

    Returns:
        what `pick` needs, the weights themselves not.
    """
    num_rows, num_actions = weights_BA.shape
    blocks = num_actions // _BLOCK
    whole = blocks * _BLOCK
    # A sum of nothing stands before the first block.
    cdf_BN = weights_BA.new_zeros(num_rows, 1 + blocks + (whole < num_actions))
    if whole:
        blocks_BNK = torch.unflatten(weights_BA[:, :whole], 1, (blocks, _BLOCK))
        torch.sum(blocks_BNK, 2, out=cdf_BN[:, 1 : 1 + blocks])
    if whole < num_actions:
        torch.sum(weights_BA[:, whole:], 1, out=cdf_BN[:, -1])
    cdf_BN.cumsum_(1)
    totals_B1 = cdf_BN[:, -1:]
    # Rounding does not carry it to the total itself, the number being at most 1 - 2^-24.
    thresholds_B1 = totals_B1 * uniforms_B.unsqueeze(1)
    places_B1 = torch.searchsorted(cdf_BN, thresholds_B1, right=True) - 1
    places_B1.clamp_(max=cdf_BN.shape[1] - 2)  # which a sum that is no number exceeds
    starts_B1 = places_B1 * _BLOCK
    actions_BK = starts_B1 + torch.arange(_BLOCK, device=weights_BA.device)
    if whole < num_actions:
        actions_BK.clamp_(max=num_actions - 1)
    rests_B1 = thresholds_B1.sub_(cdf_BN.gather(1, places_B1))
    return Located(totals_B1, starts_B1, rests_B1, weights_BA.gather(1, actions_BK))


def pick(located: Located, num_actions: int) -> tuple[Tensor, Tensor]:
    """The draw of each row.

    Args:
        located: what `locate` found.
        num_actions: A.

    Returns:
        the actions, int64 [B], never one of weight 0, and their weights [B].
    """
    _, starts_B1, rests_B1, held_BK = located
    if num_actions % _BLOCK:
        places_K = torch.arange(_BLOCK, device=held_BK.device)
        held_BK = held_BK.masked_fill(starts_B1 + places_K >= num_actions, 0)
    cdf_BK = held_BK.cumsum(1)
    # Nor may rounding carry it to the end of the block, behind the last action that has a weight.
    rests_B1 = torch.minimum(rests_B1, cdf_BK[:, -1:] * _BELOW_ONE)
    places_B1 = torch.searchsorted(cdf_BK, rests_B1, right=True).clamp_(max=_BLOCK - 1)
    return (starts_B1 + places_B1).squeeze(1), held_BK.gather(1, places_B1).squeeze(1)
