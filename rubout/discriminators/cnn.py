"""Convolutions of several widths, read at their largest, and a highway layer.

Source: Kim (2014) with one highway layer; filters and initialisation of the SeqGAN code (Yu et al.
2017); `small` are Texygen's filters.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators.config import FILTERS, DiscriminatorConfig
from rubout.discriminators.look_up import LookUp
from rubout.discriminators.network import SequenceNetwork
from rubout.products import Linear, prepacked, product
from rubout.types import Sequences


class SequenceCNN(SequenceNetwork):
    """Convolutions of several widths, maximum over time, highway, one output.

    Filters wider than the sequences are left out.
    """

    def __init__(self, num_tokens: int, max_length: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.max_length, self.padding = max_length, num_tokens
        self.precision = config.precision
        self.embedding = nn.Embedding(num_tokens + 1, config.embedding)
        filters = [item for item in FILTERS[config.filters] if item[0] <= max_length]
        filters = filters or [(1, 100)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding, count, width) for width, count in filters
        )
        self.num_features = sum(count for _, count in filters)
        self.gate = Linear(self.num_features, self.num_features)
        self.transform = Linear(self.num_features, self.num_features)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(self.num_features, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for layer in [*self.convolutions, self.out]:
            for name, parameter in layer.named_parameters():
                if name == "weight":
                    nn.init.trunc_normal_(parameter, std=0.1, a=-0.2, b=0.2)
                else:
                    nn.init.constant_(parameter, 0.1)
        self.look_up = LookUp(self.embedding, list(self._convolutions()))

    def features(self, sequences: Sequences) -> Tensor:
        """See `SequenceNetwork.features`."""
        tokens_BL = sequences.tokens_BL.masked_fill(~sequences.mask_BL, self.padding)
        missing = self.max_length - tokens_BL.shape[1]
        tokens_BL = functional.pad(tokens_BL, (0, missing), value=self.padding)
        if self.look_up.pays(tokens_BL):
            maxima_BF = self.look_up(tokens_BL)
        else:
            embedded_BEL = self.embedding(tokens_BL).transpose(1, 2)
            maxima_BF = torch.cat([layer(embedded_BEL).amax(2) for layer in self.convolutions], 1)
        return self._highway(torch.relu(maxima_BF))

    def _highway(self, features_BF: Tensor) -> Tensor:
        """A mixture of the features and a layer of them."""
        if torch.is_grad_enabled():
            gate_BF = torch.sigmoid(self.gate(features_BF))
            return torch.lerp(features_BF, torch.relu(self.transform(features_BF)), gate_BF)
        gate_BF = self._judged(features_BF, self.gate).sigmoid_()
        changed_BF = self._judged(features_BF, self.transform).relu_()
        return torch.lerp(features_BF, changed_BF, gate_BF, out=changed_BF)

    def _judged(self, features_BF: Tensor, layer: nn.Linear) -> Tensor:
        """A layer of the highway in the precision of judging, float32 [B, F]."""
        if self.precision == "float32":
            packs = len(features_BF) >= self.num_features  # rows enough to pay for it
            return product(
                features_BF, prepacked(layer.weight) if packs else layer.weight, layer.bias
            )
        narrow = (tensor.bfloat16() for tensor in (features_BF, layer.weight, layer.bias))
        return functional.linear(*narrow).to(features_BF.dtype)

    def _convolutions(self) -> Iterator[nn.Conv1d]:
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv1d)
            yield layer
