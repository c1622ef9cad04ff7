"""Networks that judge finished sequences: discriminators, density ratios, features to leak.

Source: the CNN is Kim's (2014) with one highway layer, filters and initialisation of the SeqGAN
code (Yu et al. 2017); `small` are Texygen's filters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.reward import Reward
from rubout.tape import survivors
from rubout.task import Codec
from rubout.types import ActionSpace, Sequences, Trajectories

# (width, number of filters)
FILTERS: dict[str, tuple[tuple[int, int], ...]] = {
    "official": (
        *((1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100)),
        *((7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160)),
    ),
    "small": ((2, 100), (3, 200)),
}
_LARGEST_TABLES = 2**27  # elements: 512 MiB
_PREFIXES_AT_A_TIME = 2048


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Options of a network that judges finished sequences."""

    kind: Literal["cnn", "lstm", "transformer"] = "cnn"
    """Convolutions with a highway layer, a recurrent network read at its end, or attention."""
    filters: Literal["official", "small"] = "small"
    """The CNN's filters: SeqGAN's twelve widths (1,720 filters), or Texygen's two (300)."""
    embedding: int = 64
    """Width of the token embedding; of the transformer as well."""
    hidden: int = 64
    """Hidden units of the LSTM."""
    layers: int = 2
    """Blocks of the transformer, each with 4 heads."""
    dropout: float = 0.25
    """Dropout before the output, while training; in the transformer's blocks as well."""

    def __post_init__(self) -> None:
        if min(self.embedding, self.hidden, self.layers) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("a network needs widths of at least 1 and a dropout in [0, 1)")
        if self.kind == "transformer" and self.embedding % _HEADS:
            raise ValueError(f"a transformer's embedding must be a multiple of its {_HEADS} heads")


_HEADS = 4


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


def build(num_tokens: int, max_length: int, config: DiscriminatorConfig) -> SequenceNetwork:
    """A network for sequences of up to `max_length` tokens of `num_tokens`."""
    if config.kind == "lstm":
        return SequenceLSTM(num_tokens, config)
    if config.kind == "transformer":
        return SequenceTransformer(num_tokens, max_length, config)
    return SequenceCNN(num_tokens, max_length, config)


class Discriminator(Reward, nn.Module):
    """The probability that a finished sequence is real, as a reward: D(x) = sigmoid(logit)."""

    Config = DiscriminatorConfig

    def __init__(
        self, space: ActionSpace, config: DiscriminatorConfig, codec: Codec | None = None
    ) -> None:
        nn.Module.__init__(self)
        Reward.__init__(self, space, config, codec)
        self.network = build(space.num_tokens, space.max_length, config)

    def __call__(self, trajectories: Trajectories) -> Tensor:
        """See `Reward`."""
        return torch.sigmoid(self.logits(trajectories))

    def logits(self, trajectories: Trajectories) -> Tensor:
        """What was left on the tape, judged: float32 [B]."""
        logits_B: Tensor = self.network(survivors(self.space, trajectories))
        return logits_B


class SequenceCNN(SequenceNetwork):
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
        self.num_features = sum(count for _, count in filters)
        self.gate = nn.Linear(self.num_features, self.num_features)
        self.transform = nn.Linear(self.num_features, self.num_features)
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(self.num_features, 1)
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for layer in [*self.convolutions, self.out]:
            for name, parameter in layer.named_parameters():
                if name == "weight":
                    nn.init.trunc_normal_(parameter, std=0.1, a=-0.2, b=0.2)
                else:
                    nn.init.constant_(parameter, 0.1)
        self._tables: tuple[list[Tensor], list[Tensor]] = ([], [])

    def features(self, sequences: Sequences) -> Tensor:
        """See `SequenceNetwork.features`."""
        tokens_BL = sequences.tokens_BL.masked_fill(~sequences.mask_BL, self.padding)
        missing = self.max_length - tokens_BL.shape[1]
        tokens_BL = functional.pad(tokens_BL, (0, missing), value=self.padding)
        if self._tables_pay(tokens_BL):
            maxima = self._look_up(tokens_BL)
        else:
            embedded_BEL = self.embedding(tokens_BL).transpose(1, 2)
            maxima = [layer(embedded_BEL).amax(dim=2) for layer in self.convolutions]
        features_BF = torch.relu(torch.cat(maxima, dim=1))
        gate_BF = torch.sigmoid(self.gate(features_BF))
        return torch.lerp(features_BF, torch.relu(self.transform(features_BF)), gate_BF)

    def _convolutions(self) -> Iterator[nn.Conv1d]:
        for layer in self.convolutions:
            assert isinstance(layer, nn.Conv1d)
            yield layer

    def _tables_pay(self, tokens_BL: Tensor) -> bool:
        """Whether to convolve by look-up: many sequences for the vocabulary, on a CPU, no gradient.

        The answer is a function of the batch alone, so that the same batch has the same bits
        wherever it is judged.
        """
        if torch.is_grad_enabled() or tokens_BL.device.type != "cpu":
            return False
        words = self.embedding.weight.shape[0]
        elements = sum(layer.kernel_size[0] * layer.out_channels for layer in self._convolutions())
        return tokens_BL.numel() >= 2 * words and words * elements <= _LARGEST_TABLES

    def _look_up(self, tokens_BL: Tensor) -> list[Tensor]:
        """A convolution of embedded tokens is a sum of table rows, one a token and place in it."""
        words = self.embedding.weight.shape[0]
        maxima = []
        for layer, table_RN in zip(self._convolutions(), self._current_tables(), strict=True):
            (width,) = layer.kernel_size
            rows_BPK = tokens_BL.unfold(1, width, 1) + torch.arange(width) * words
            sums = functional.embedding_bag(rows_BPK.reshape(-1, width), table_RN, mode="sum")
            assert layer.bias is not None
            maxima.append(sums.view(len(tokens_BL), -1, layer.out_channels).amax(1) + layer.bias)
        return maxima

    def _current_tables(self) -> list[Tensor]:
        """One [K words, N] a convolution, made again whenever a weight has changed."""
        weights = [self.embedding.weight, *(layer.weight for layer in self._convolutions())]
        made_of, tables = self._tables
        # Compared by value: optimisers change weights without telling.
        if not made_of or not all(map(torch.equal, made_of, weights)):
            tables = [
                torch.cat([self.embedding.weight @ place.T for place in layer.weight.unbind(2)])
                for layer in self._convolutions()
            ]
            self._tables = ([weight.clone() for weight in weights], tables)
        return tables


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
            _HEADS,
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
