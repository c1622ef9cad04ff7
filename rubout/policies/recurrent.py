"""An LSTM along the paths of a tape: every node follows from its parent.

Torch's fused LSTM runs along sequences and says what c is at their ends alone, so that a tree is
cut into bands of so many depths. Every path through a band, from its top to its bottom or to a
leaf, is a sequence, and goes on from where one of the band above ended. What paths of a band have
in common is computed once for each: narrow bands repeat little, wide ones are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rubout.products import product
from rubout.tape import Tape

IntArray = NDArray[np.int64]

# What a further call of the LSTM costs, in nodes: on a CPU least time is taken from 96 to 128 with
# 128 hidden units, where a node costs 4 us, from 256 to 400 with 32, where it costs 0.6 us.
NODES_PER_CALL = 192

# Inputs and hidden units from which a step by `product`, whose weights can be packed, takes less
# than torch's own, which packs them anew at each. Of 64 rows: with 256 and 256 0.98 of the time,
# with 128 and 512 0.7, with 512 and 512 0.65; of 1,024 rows 1.01 there.
_WIDE = 640


@dataclass(frozen=True, slots=True)
class Bands:
    """The trees of a tape, cut into bands.

    Attributes:
        nodes_M: int64, the nodes of all paths, numbered through [B N]: band by band, in each depth
            by depth. A path that ends above the bottom of its band repeats its last node.
        shapes: of each band, how many depths it has and how many paths.
        above: for each band int64 [R], the path of the band above from which each goes on; in the
            first, where there is none above, one of its own.
        places_BN: int64, where in `nodes_M` each node is found; on padding behind the last.
    """

    nodes_M: Tensor
    shapes: list[tuple[int, int]]
    above: Sequence[Tensor]
    places_BN: Tensor


class Recurrent(nn.LSTM):
    """One layer, over whole tapes or a step at a time."""

    bias_hh_l0: nn.Parameter

    def __init__(self, num_inputs: int, hidden: int) -> None:
        super().__init__(num_inputs, hidden, batch_first=True)

    def over(self, tape: Tape, inputs_BND: Tensor) -> Tensor:
        """h of every node, [B, N, H]."""
        if tape.linear:
            hidden_BNH: Tensor = self(inputs_BND)[0]
            return hidden_BNH
        return over(cut(tape), inputs_BND, self.all_weights[0])


def blank(name: str, batch_size: int, slots: int, weights: Sequence[Tensor]) -> dict[str, Tensor]:
    """An empty memory of one layer's states, by depth: h and c, each float [B, slots, H].

    Args:
        name: of the layer; it stands before those of the tensors.
        batch_size: B.
        slots: depths that are kept; 1: the last alone.
        weights: of the layer, as in `nn.LSTM.all_weights`.
    """
    shape = (batch_size, slots, weights[1].shape[1])
    return {f"{name} {part}": weights[1].new_zeros(shape) for part in "hc"}


def extend(
    memory: dict[str, Tensor],
    name: str,
    rows_M: Tensor | None,
    inputs_MD: Tensor,
    depths_M: Tensor,
    weights: Sequence[Tensor],
) -> Tensor:
    """One step of one layer, from the states that are remembered one depth above.

    Args:
        memory: has what `blank` gave; the states of the new nodes are written into it.
        name: of the layer.
        rows_M: int64 [M], which rows of the memory; None: all of them, in order.
        inputs_MD: float, what the layer reads.
        depths_M: int64 [M], of the new nodes: 0 for the start.
        weights: of the layer.

    Returns:
        h of the new nodes, float [M, H].
    """
    names = f"{name} h", f"{name} c"
    states = [memory[each] for each in names]
    keeps = states[0].shape[1] > 1
    if rows_M is None and not keeps:
        h, c = _step(inputs_MD, states[0][:, 0], states[1][:, 0], weights)
        memory |= {names[0]: h.unsqueeze(1), names[1]: c.unsqueeze(1)}
        return h
    rows = torch.arange(len(inputs_MD), device=inputs_MD.device) if rows_M is None else rows_M
    # At the start nothing has been written: the zeros of an empty memory are the state before.
    above = (depths_M - 1).clamp(min=0) if keeps else torch.zeros_like(depths_M)
    h, c = _step(inputs_MD, states[0][rows, above], states[1][rows, above], weights)
    for state, found in zip(states, (h, c), strict=True):
        state[rows, depths_M if keeps else above] = found
    return h


def _step(
    inputs_MD: Tensor, h_MH: Tensor, c_MH: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The next h and c of one layer, [M, H] each."""
    w_input, w_hidden, b_input, b_hidden = weights
    wide = w_input.shape[1] + w_hidden.shape[1] >= _WIDE
    if not wide or torch.is_grad_enabled() or inputs_MD.device.type != "cpu":
        before = h_MH.unsqueeze(0), c_MH.unsqueeze(0)
        _, h, c = _fused(inputs_MD.unsqueeze(0), before, weights)
        return h[0], c[0]
    gates = product(inputs_MD, w_input, b_input + b_hidden).add_(product(h_MH, w_hidden))
    i, f, g, o = gates.chunk(4, dim=1)  # and all else but the results takes their places
    c = torch.addcmul(f.sigmoid_().mul_(c_MH), i.sigmoid_(), g.tanh_())
    return o.sigmoid_() * torch.tanh(c, out=g), c


def _fused(
    inputs_TMD: Tensor, before: tuple[Tensor, Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Torch's LSTM of one layer: h of all steps, and h and c of the last, [1, M, H] each."""
    # What torch calls training says here whether a gradient may be asked for.
    trains = torch.is_grad_enabled()
    return torch.lstm(inputs_TMD, before, list(weights), True, 1, 0.0, trains, False, False)


def over(bands: Bands, inputs_BND: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """One layer of an LSTM over trees.

    Args:
        bands: of the tape.
        inputs_BND: float, what the layer reads at every node.
        weights: of the layer, as in `nn.LSTM.all_weights`.

    Returns:
        h of every node, float [B, N, H]; zeros on padding.
    """
    hidden = weights[1].shape[1]
    read_MD = inputs_BND.flatten(0, 1).index_select(0, bands.nodes_M)
    parts = torch.split(read_MD, [depths * paths for depths, paths in bands.shapes])
    h = c = read_MD.new_zeros(1, bands.shapes[0][1], hidden)
    outputs = []
    for part_MD, shape, above_R in zip(parts, bands.shapes, bands.above, strict=True):
        read_WRD = part_MD.view(*shape, -1)
        before = (h.index_select(1, above_R), c.index_select(1, above_R))
        output_WRH, h, c = _fused(read_WRD, before, weights)
        outputs.append(output_WRH.flatten(0, 1))
    outputs.append(read_MD.new_zeros(1, hidden))
    hidden_MH = torch.cat(outputs).index_select(0, bands.places_BN.flatten())
    return hidden_MH.view(*bands.places_BN.shape, hidden)


def cut(tape: Tape, nodes_per_call: int = NODES_PER_CALL) -> Bands:
    """The bands of a tape, found on the host; waits for the device once.

    Args:
        tape: B logs, with backspaces or without.
        nodes_per_call: what a further band costs, in nodes.
    """
    forest = _Forest.of(tape)
    widths_C = np.array(_widths(forest, nodes_per_call))
    bands_D = np.arange(len(widths_C)).repeat(widths_C)
    columns_D = np.arange(len(bands_D)) - _starts(widths_C)[bands_D]
    bands_M, columns_M = bands_D[forest.depths_M], columns_D[forest.depths_M]
    is_bottom_M = columns_M == widths_C[bands_M] - 1
    ends_R = np.flatnonzero(forest.is_real_M & (~forest.is_inner_M | is_bottom_M))
    ends_R = ends_R[bands_M[ends_R].argsort(kind="stable")]
    paths_WR = _upwards(ends_R, forest.parents_M, columns_M[ends_R])
    # A node of several paths is read from the last of them: they write in order.
    path_M = np.zeros_like(bands_M)
    path_M[paths_WR] = np.arange(len(ends_R))
    sizes_C = np.bincount(bands_M[ends_R])
    starts_C, steps_C = _starts(sizes_C), widths_C * sizes_C
    starts_above_C = np.concatenate([[0], starts_C[:-1]])
    above_R = path_M[forest.parents_M[paths_WR[0]]] - starts_above_C.repeat(sizes_C)
    first_C = _starts(steps_C) - starts_C
    places_M = first_C[bands_M] + columns_M * sizes_C[bands_M] + path_M
    places_M = np.where(forest.is_real_M, places_M, steps_C.sum())
    parts = np.split(paths_WR, starts_C[1:], axis=1)
    nodes = [part[:width].ravel() for part, width in zip(parts, widths_C, strict=True)]

    def sent(values: IntArray) -> Tensor:
        """To the device of the tape."""
        return torch.from_numpy(values).to(tape.tokens_BN.device)

    return Bands(
        nodes_M=sent(np.concatenate(nodes)),
        shapes=list(zip(widths_C.tolist(), sizes_C.tolist(), strict=True)),
        above=torch.split(sent(above_R), sizes_C.tolist()),
        places_BN=sent(places_M).view_as(tape.tokens_BN),
    )


def _starts(sizes_C: IntArray) -> IntArray:
    """Where each of some pieces begins that stand one behind the other."""
    return sizes_C.cumsum() - sizes_C


@dataclass(frozen=True, slots=True)
class _Forest:
    """All nodes of a tape, flattened, on the host.

    Attributes:
        parents_M: int64, each node's parent among all; a start's is itself.
        depths_M: int64, tokens on the path above.
        is_real_M: bool, False on padding.
        is_inner_M: bool, whether the node is another's parent.
    """

    parents_M: IntArray
    depths_M: IntArray
    is_real_M: NDArray[np.bool_]
    is_inner_M: NDArray[np.bool_]

    @staticmethod
    def of(tape: Tape) -> _Forest:
        """Of B logs; the one time that the device is waited for."""
        parents_BN, depths_BN = torch.stack([tape.parents_BN, tape.depths_BN]).cpu().numpy()
        first_B = np.arange(0, depths_BN.size, depths_BN.shape[1])
        parents_M, depths_M = (parents_BN + first_B[:, None]).ravel(), depths_BN.ravel()
        is_real_M = depths_M > 0
        is_inner_M = np.zeros_like(is_real_M)
        is_inner_M[parents_M[is_real_M]] = True
        is_real_M[first_B] = True
        return _Forest(parents_M, depths_M, is_real_M, is_inner_M)


def _widths(forest: _Forest, nodes_per_call: int) -> list[int]:
    """How many depths each band has.

    A band ends before what it computes in vain, twice or behind a leaf, costs more than the call
    for the next. Where branches are evenly spread that waste grows as the square of the width, and
    the cost of a depth, (call + waste) / width, is least where the two are equal.
    """
    num_depths = int(forest.depths_M.max()) + 1
    inner_D, leaves_D = (
        np.bincount(forest.depths_M[forest.is_real_M & kind_M], minlength=num_depths).tolist()
        for kind_M in (forest.is_inner_M, ~forest.is_inner_M)
    )
    widths: list[int] = [0]
    leaves = nodes = 0
    for here, ending in zip(inner_D, leaves_D, strict=True):
        leaves, nodes = leaves + ending, nodes + here + ending
        if (widths[-1] + 1) * (leaves + here) - nodes > nodes_per_call:
            widths.append(0)
            leaves, nodes = ending, here + ending
        widths[-1] += 1
    return widths


def _upwards(ends_R: IntArray, parents_M: IntArray, columns_R: IntArray) -> IntArray:
    """The paths through bands that end at some nodes.

    Args:
        ends_R: int64, the nodes.
        parents_M: int64, of all nodes.
        columns_R: int64, the ends' depths within their bands.

    Returns:
        int64 [W, R], downwards, the ends repeated.
    """
    width = int(columns_R.max()) + 1
    up = [ends_R]
    for _ in range(width - 1):
        up.append(parents_M[up[-1]])
    heights_WR = columns_R - np.arange(width)[:, None]
    return np.take_along_axis(np.stack(up), heights_WR.clip(min=0), axis=0)
