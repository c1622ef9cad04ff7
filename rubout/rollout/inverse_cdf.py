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
    """What is left to know of D draws.

    Attributes:
        totals_D1: the sum of the row's weights, of their dtype as the rests and those held.
        starts_D1: int64, the first action of the block.
        rests_D1: by how much the number exceeds what stands before the block.
        held_DK: the weights of the block.
    """

    totals_D1: Tensor
    starts_D1: Tensor
    rests_D1: Tensor
    held_DK: Tensor

    @staticmethod
    def cat(parts: list[Located]) -> Located:
        """The draws of all of them, in order."""
        if len(parts) == 1:
            return parts[0]
        return Located(*(torch.cat(each) for each in zip(*parts, strict=True)))


def locate(weights_BA: Tensor, uniforms_BN: Tensor) -> Located:
    """The blocks of actions in which N draws of each row lie.

    Args:
        weights_BA: float [B, A], not negative. Each row's sum should lie within `SUMS`: of others
            nothing is right but this sum.
        uniforms_BN: float32 [B, N] in [0, 1).

    Returns:
        what `pick` needs of D = B N draws, row by row; the weights themselves not.
    """
    num_rows, num_actions = weights_BA.shape
    blocks = num_actions // _BLOCK
    whole = blocks * _BLOCK
    # A sum of nothing stands before the first block.
    cdf_BC = weights_BA.new_zeros(num_rows, 1 + blocks + (whole < num_actions))
    if whole:
        in_blocks = torch.unflatten(weights_BA[:, :whole], 1, (blocks, _BLOCK))
        torch.sum(in_blocks, 2, out=cdf_BC[:, 1 : 1 + blocks])
    if whole < num_actions:
        torch.sum(weights_BA[:, whole:], 1, out=cdf_BC[:, -1])
    cdf_BC.cumsum_(1)
    totals_B1 = cdf_BC[:, -1:]
    # Rounding does not carry it to the total itself, the number being at most 1 - 2^-24.
    thresholds_BN = totals_B1 * uniforms_BN
    places_BN = torch.searchsorted(cdf_BC, thresholds_BN, right=True) - 1
    places_BN.clamp_(max=cdf_BC.shape[1] - 2)  # which a sum that is no number exceeds
    starts_BN = places_BN * _BLOCK
    actions_BNK = starts_BN.unsqueeze(2) + torch.arange(_BLOCK, device=weights_BA.device)
    if whole < num_actions:
        actions_BNK.clamp_(max=num_actions - 1)
    held_BM = weights_BA.gather(1, actions_BNK.flatten(1))
    rests_BN = thresholds_BN.sub_(cdf_BC.gather(1, places_BN))
    totals_BN = totals_B1.expand_as(rests_BN)
    return Located(
        totals_D1=totals_BN.reshape(-1, 1),
        starts_D1=starts_BN.view(-1, 1),
        rests_D1=rests_BN.view(-1, 1),
        held_DK=held_BM.view(-1, _BLOCK),
    )


def pick(located: Located, num_actions: int) -> tuple[Tensor, Tensor]:
    """The action of each draw.

    Args:
        located: what `locate` found.
        num_actions: A.

    Returns:
        the actions, int64 [D], never one of weight 0, and their weights [D].
    """
    _, starts_D1, rests_D1, held_DK = located
    if num_actions % _BLOCK:
        places_K = torch.arange(_BLOCK, device=held_DK.device)
        held_DK = held_DK.masked_fill(starts_D1 + places_K >= num_actions, 0)
    cdf_DK = held_DK.cumsum(1)
    # Nor may rounding carry it to the end of the block, behind the last action that has a weight.
    rests_D1 = torch.minimum(rests_D1, cdf_DK[:, -1:] * _BELOW_ONE)
    places_D1 = torch.searchsorted(cdf_DK, rests_D1, right=True).clamp_(max=_BLOCK - 1)
    return (starts_D1 + places_D1).squeeze(1), held_DK.gather(1, places_D1).squeeze(1)
