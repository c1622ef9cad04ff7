"""Attention in both directions, read at a start symbol."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators.config import HEADS, DiscriminatorConfig
from rubout.discriminators.network import SequenceNetwork
from rubout.types import Sequences


class SequenceTransformer(SequenceNetwork):
    """Attention in both directions with learned positions, read at a start symbol."""

    def __init__(self, num_tokens: int, max_length: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.start = num_tokens
        self.num_features = width = config.embedding
        self.embedding = nn.Embedding(num_tokens + 1, width)
        self.positions = nn.Parameter(torch.empty(max_length + 1, width))
        nn.init.normal_(self.positions, std=0.02)
        block = nn.TransformerEncoderLayer(
            width,
            HEADS,
            dim_feedforward=4 * width,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(
            block, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(width, 1)

    def features(self, sequences: Sequences) -> Tensor:
        """See `SequenceNetwork.features`."""
        tokens_BL = functional.pad(sequences.tokens_BL, (1, 0), value=self.start)
        unseen_BL = functional.pad(~sequences.mask_BL, (1, 0), value=False)
        embedded_BLE = self.embedding(tokens_BL) + self.positions[: tokens_BL.shape[1]]
        features_BLF: Tensor = self.blocks(embedded_BLE, src_key_padding_mask=unseen_BL)
        return features_BLF[:, 0]
