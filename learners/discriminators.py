"""Networks from a finished sequence to one number: density ratios, and discriminators.

Source: the CNN is Kim's (2014) with one highway layer, filters and initialisation of the SeqGAN
code (Yu et al. 2017); `small` are Texygen's filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.types import Sequences

# (width, number of filters)
FILTERS: dict[str, tuple[tuple[int, int], ...]] = {
    "official": (
        *((1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100)),
        *((7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160)),
    ),
    "small": ((2, 100), (3, 200)),
}


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Options of a network that judges finished sequences."""

    kind: Literal["cnn", "lstm"] = "cnn"
    """Convolutions with a highway layer, or a recurrent network read at its end."""
    filters: Literal["official", "small"] = "small"
    """The CNN's filters: SeqGAN's twelve widths (1,720 filters), or Texygen's two (300)."""
    embedding: int = 64
    """Width of the token embedding."""
    hidden: int = 64
    """Hidden units of the LSTM."""
    dropout: float = 0.25
    """Dropout before the output, while training."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("a network needs widths of at least 1 and a dropout in [0, 1)")


def build(num_tokens: int, max_length: int, config: DiscriminatorConfig) -> nn.Module:
    """A network from Sequences of tokens 0..num_tokens-1 to float32 [B]."""
    if config.kind == "lstm":
        return SequenceLSTM(num_tokens, config)
    return SequenceCNN(num_tokens, max_length, config)


class SequenceCNN(nn.Module):
    """Convolutions of several widths, maximum over time, highway, one output.

    Filters wider than the sequences are left out.
    """

    def __init__(self, num_tokens: int, max_length: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.max_length, self.padding = max_length, num_tokens
        self.embedding = nn.Embedding(num_tokens + 1, config.embedding)
        filters = [item for item in FILTERS[config.filters] if item[0] <= max_length]
        filters = filters or [(1, 100)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, count, width) for width, count in filters
        )
        features = sum(count for _, count in filters)
        self.gate = nn.Linear(features, features)
        self.transform = nn.Linear(features, features)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(features, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for layer in [*self.convolutions, self.out]:
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(layer.bias, 0.1)

    def forward(self, sequences: Sequences) -> Tensor:
        """One number a sequence, float32 [B]."""
        tokens_BL = sequences.tokens_BL.masked_fill(~sequences.mask_BL, self.padding)
        missing = self.max_length - tokens_BL.shape[1]
        tokens_BL = functional.pad(tokens_BL, (0, missing), value=self.padding)
        embedded_BEL = self.embedding(tokens_BL).transpose(1, 2)
        features_BF = torch.cat(
            [torch.relu(layer(embedded_BEL)).amax(dim=2) for layer in self.convolutions], dim=1
        )
        gate_BF = torch.sigmoid(self.gate(features_BF))
        features_BF = torch.lerp(features_BF, torch.relu(self.transform(features_BF)), gate_BF)
        output: Tensor = self.out(self.dropout(features_BF)).squeeze(1)
        return output


class SequenceLSTM(nn.Module):
    """An LSTM read at the end of each sequence."""

    def __init__(self, num_tokens: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.start = num_tokens
        self.embedding = nn.Embedding(num_tokens + 1, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.hidden, 1)

    def forward(self, sequences: Sequences) -> Tensor:
        """One number a sequence, float32 [B]."""
        tokens_BL = functional.pad(sequences.tokens_BL, (1, 0), value=self.start)
        hidden_BLD, _ = self.lstm(self.embedding(tokens_BL))
        rows = torch.arange(len(sequences), device=tokens_BL.device)
        output: Tensor = self.out(self.dropout(hidden_BLD[rows, sequences.lengths_B])).squeeze(1)
        return output
