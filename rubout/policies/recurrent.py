"""An LSTM along the paths of a tape: every node follows from its parent."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rubout.tape import Tape


class Recurrent(nn.LSTM):
    """One layer, over whole tapes or a step at a time."""

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter

    def __init__(self, num_inputs: int, hidden: int) -> None:
        super().__init__(num_inputs, hidden, batch_first=True)

    def over(self, tape: Tape, inputs_BND: Tensor) -> Tensor:
        """h of every node, [B, N, H]."""
        if tape.linear:
            hidden_BNH: Tensor = self(inputs_BND)[0]
            return hidden_BNH
        batch, nodes = tape.tokens_BN.shape
        inputs = inputs_BND.flatten(0, 1)
        state = inputs.new_zeros(batch, 2, self.hidden_size)
        order, outputs = [], []
        for level, above in levels(tape):
            state = self.cell(inputs[level], state[above])
            order.append(level)
            outputs.append(state[:, 0])
        flat = inputs.new_zeros(batch * nodes, self.hidden_size)
        return flat.index_put((torch.cat(order),), torch.cat(outputs)).view(batch, nodes, -1)

    def cell(self, inputs_MD: Tensor, before_M2H: Tensor) -> Tensor:
        """One step: h and c, [M, 2, H], from those before."""
        gates = torch.addmm(self.bias_ih_l0 + self.bias_hh_l0, inputs_MD, self.weight_ih_l0.T)
        gates = torch.addmm(gates, before_M2H[:, 0], self.weight_hh_l0.T)
        i, f, g, o = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * before_M2H[:, 1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.stack([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


def levels(tape: Tape) -> Iterator[tuple[Tensor, Tensor]]:
    """All nodes of one depth together, numbered through [B N]; and their parents' places above.

    A parent's place is that among the nodes of the level above; for the starts, their own.
    """
    batch, nodes = tape.tokens_BN.shape
    depths = tape.depths_BN.flatten()
    first_B = torch.arange(batch, device=depths.device) * nodes
    parents = (tape.parents_BN + first_B.unsqueeze(1)).flatten()
    place = torch.zeros_like(depths)
    place[first_B] = torch.arange(batch, device=depths.device)
    yield first_B, place[first_B]
    for depth in range(1, int(depths.max()) + 1):
        level = (depths == depth).nonzero().squeeze(1)
        above = place[parents[level]]
        place[level] = torch.arange(len(level), device=level.device)
        yield level, above
