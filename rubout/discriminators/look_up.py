"""Convolutions of embedded tokens by look-up, and their maxima over time.

A convolution of embedded tokens is a sum of table rows, one a token and place in the window. Rows
of a batch that begin alike, as the completions of one prefix do, share the windows that lie in
what they have in common: each is summed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.products import product

_LARGEST_TABLES = 2**27  # elements: 512 MiB


@dataclass(frozen=True)
class Beginnings:
    """What the rows of a batch begin with, each once where it stands in adjacent rows.

    Attributes:
        tokens: for each place the N beginnings that end there, int64 [N, L] with what follows.
        parents: for each place int64 [N], the same beginnings without that place's token, as
            numbers among those of the place before; of the first place any value.
        last_B: int64 [B], each row's number at the last place.
    """

    tokens: list[Tensor]
    parents: list[Tensor]
    last_B: Tensor

    @staticmethod
    def of(tokens_BL: Tensor) -> Beginnings:
        """Of int64 [B, L]; a function of the batch alone."""
        new_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
        new_BL[1:] = (tokens_BL[1:] != tokens_BL[:-1]).cumsum(1) > 0
        numbers_BL = new_BL.cumsum(0) - 1
        rows = [new_B.nonzero().squeeze(1) for new_B in new_BL.T]
        return Beginnings(
            tokens=[tokens_BL[rows_N] for rows_N in rows],
            parents=[numbers_BL[rows_N, place - 1] for place, rows_N in enumerate(rows)],
            last_B=numbers_BL[:, -1],
        )


class LookUp:
    """The tables of some convolutions, made again whenever a weight has changed.

    Args:
        embedding: of the tokens.
        convolutions: of what is embedded, without padding or stride.
    """

    def __init__(self, embedding: nn.Embedding, convolutions: Sequence[nn.Conv1d]) -> None:
        self.embedding, self.convolutions = embedding, convolutions
        self._made_of: list[Tensor] = []
        self._tables: list[Tensor] = []

    def pays(self, tokens_BL: Tensor) -> bool:
        """Whether to convolve by look-up: many tokens for the vocabulary, on a CPU, no gradient.

        The answer is a function of the batch alone, so that the same batch has the same bits
        wherever it is judged.
        """
        if torch.is_grad_enabled() or tokens_BL.device.type != "cpu":
            return False
        words = self.embedding.num_embeddings
        elements = sum(layer.kernel_size[0] * layer.out_channels for layer in self.convolutions)
        return tokens_BL.numel() >= 2 * words and words * elements <= _LARGEST_TABLES

    def __call__(self, tokens_BL: Tensor) -> Tensor:
        """Every filter's largest output on each row of int64 [B, L]: float32 [B, F]."""
        beginnings = Beginnings.of(tokens_BL)
        maxima = [
            self._maxima(beginnings, layer.kernel_size[0], table_RF)
            for layer, table_RF in zip(self.convolutions, self.tables(), strict=True)
        ]
        biases = [layer.bias for layer in self.convolutions if layer.bias is not None]
        return torch.cat(maxima, dim=1).add_(torch.cat(biases))

    def _maxima(self, beginnings: Beginnings, width: int, table_RF: Tensor) -> Tensor:
        """Place by place, so that what is read again is still in the cache."""
        rows_K = torch.arange(width)
        largest_NF = None
        for place in range(width - 1, len(beginnings.tokens)):
            windows_NK = beginnings.tokens[place][:, place - width + 1 : place + 1]
            rows_NK = torch.add(rows_K, windows_NK, alpha=width)
            sums_NF = functional.embedding_bag(rows_NK, table_RF, mode="sum")
            if largest_NF is not None:
                if len(largest_NF) < len(sums_NF):
                    largest_NF = largest_NF.index_select(0, beginnings.parents[place])
                torch.maximum(sums_NF, largest_NF, out=sums_NF)
            largest_NF = sums_NF
        assert largest_NF is not None
        return largest_NF.index_select(0, beginnings.last_B)

    def tables(self) -> list[Tensor]:
        """One [words K, F] a convolution, word by word; the same until a weight changes."""
        weights = [self.embedding.weight, *(layer.weight for layer in self.convolutions)]
        # Compared by value: optimisers change weights without telling.
        if not self._made_of or not all(map(torch.equal, self._made_of, weights)):
            self._tables = [
                product(self.embedding.weight, weight_FEK.permute(2, 0, 1).flatten(0, 1)).view(
                    -1, len(weight_FEK)
                )
                for weight_FEK in weights[1:]
            ]
            self._made_of = [weight.clone() for weight in weights]
        return self._tables
