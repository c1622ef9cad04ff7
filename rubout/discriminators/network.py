"""What the networks that judge sequences have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rubout.types import Sequences

_PREFIXES_AT_A_TIME = 2048


class SequenceNetwork(nn.Module, ABC):
    """Sequences of tokens 0..V-1 to features, and features to one number.

    Attributes:
        num_features: F.
        out: F features to one number, after dropout.
    """

    num_features: int
    out: nn.Linear
    dropout: nn.Dropout

    @abstractmethod
    def features(self, sequences: Sequences) -> Tensor:
        """Float32 [B, F], before dropout."""

    def forward(self, sequences: Sequences) -> Tensor:
        """One number a sequence, float32 [B]."""
        output: Tensor = self.out(self.dropout(self.features(sequences))).squeeze(1)
        return output


@torch.no_grad()
def prefix_features(network: SequenceNetwork, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """What a network makes of every beginning of some sequences.

    Args:
        network: without dropout in its features, or in eval mode.
        tokens_BL: int64 [B, L], any value on padding.
        lengths_B: int64 [B].

    Returns:
        float32 [B, L + 1, F]: of the first 0, 1, ... tokens; beyond its length, a sequence's own.
    """
    batch, length = tokens_BL.shape
    kept_P = torch.arange(length + 1, device=tokens_BL.device)
    lengths_BP = torch.minimum(kept_P, lengths_B.unsqueeze(1))
    places = torch.arange(length, device=tokens_BL.device)
    tokens_BPL = tokens_BL.unsqueeze(1).masked_fill(places >= lengths_BP.unsqueeze(2), 0)
    prefixes = Sequences(tokens_BPL.flatten(0, 1), lengths_BP.flatten())
    parts = [
        network.features(prefixes[first : first + _PREFIXES_AT_A_TIME])
        for first in range(0, len(prefixes), _PREFIXES_AT_A_TIME)
    ]
    return torch.cat(parts).view(batch, length + 1, -1)
