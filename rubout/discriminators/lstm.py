"""A recurrent network read at the end of each sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators.config import DiscriminatorConfig
from rubout.discriminators.network import SequenceNetwork
from rubout.types import Sequences


class SequenceLSTM(SequenceNetwork):
    """An LSTM read at the end of each sequence."""

    def __init__(self, num_tokens: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.start = num_tokens
        self.num_features = config.hidden
        self.embedding = nn.Embedding(num_tokens + 1, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(config.hidden, 1)

    def features(self, sequences: Sequences) -> Tensor:
        """See `SequenceNetwork.features`."""
        tokens_BL = functional.pad(sequences.tokens_BL, (1, 0), value=self.start)
        hidden_BLD, _ = self.lstm(self.embedding(tokens_BL))
        rows = torch.arange(len(sequences), device=tokens_BL.device)
        features_BF: Tensor = hidden_BLD[rows, sequences.lengths_B]
        return features_BF
