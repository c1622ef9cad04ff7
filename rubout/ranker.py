"""A judge that ranks: how a sequence compares with others, as seen from some references.

Source: RankGAN (Lin et al., "Adversarial Ranking for Language Generation", NIPS 2017, section 3).
With y the features of a sequence, u a reference and C a set that s is compared with,

    a(s | u) = cos(y_s, y_u)
    P(s | u, C) = exp(g a(s | u)) / sum_{s' in C + {s}} exp(g a(s' | u))
    R(s | U, C) = mean of P(s | u, C) over u in U.

P is a logistic function of g a(s | u) less the log-sum-exp of what C has, so that log R and
log(1 - R) are both log-sum-exps of logarithms of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rubout.discriminators import DiscriminatorConfig, build
from rubout.reward import Reward
from rubout.tape import survivors
from rubout.task import Codec
from rubout.types import ActionSpace, Sequences, Trajectories


@dataclass(frozen=True)
class RankerConfig(DiscriminatorConfig):
    """Options of a ranker: of its network, and of how it compares."""

    gamma: float = 1.0
    """g: how sharply similarities are told apart."""
    references: int = 16
    """Real sequences that all are seen from."""
    comparisons: int = 32
    """Sequences that each is ranked against."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gamma <= 0:
            raise ValueError(f"a ranker's gamma must be positive, not {self.gamma}")
        if min(self.references, self.comparisons) < 1:
            raise ValueError("a ranker needs at least one reference and one comparison")


def cosines(features_BF: Tensor, others_RF: Tensor) -> Tensor:
    """a(s | u), float32 [B, R]: the cosine of every sequence's features with every other's."""
    assert features_BF.ndim == others_RF.ndim == 2
    assert features_BF.shape[1] == others_RF.shape[1]
    return functional.normalize(features_BF, dim=1) @ functional.normalize(others_RF, dim=1).T


def log_ranks(cosines_BR: Tensor, compared_CR: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """log R(s | U, C) and log(1 - R(s | U, C)).

    Args:
        cosines_BR: float32 [B, R], a(s | u) of what is ranked.
        compared_CR: float32 [C, R], a(s' | u) of what it is ranked against.
        gamma: g.

    Returns:
        float32 [B], twice.
    """
    assert cosines_BR.shape[1] == compared_CR.shape[1]
    lead_BR = gamma * cosines_BR - torch.logsumexp(gamma * compared_CR, dim=0)
    count = math.log(lead_BR.shape[1])
    above_B = torch.logsumexp(functional.logsigmoid(lead_BR), dim=1) - count
    below_B = torch.logsumexp(functional.logsigmoid(-lead_BR), dim=1) - count
    return above_B, below_B


class Ranker(Reward, nn.Module):
    """R(s | U, C) as a reward; U and C are part of its state, so that each sequence has its own.

    Attributes:
        network: gives the features; its output layer is not used.
    """

    Config = RankerConfig
    config: RankerConfig
    references_RL: Tensor
    reference_lengths_R: Tensor
    comparisons_CL: Tensor
    comparison_lengths_C: Tensor

    def __init__(
        self, space: ActionSpace, config: RankerConfig, codec: Codec | None = None
    ) -> None:
        nn.Module.__init__(self)
        Reward.__init__(self, space, config, codec)
        self.network = build(space.num_tokens, space.max_length, config)
        for name, count, suffix in (
            ("reference", config.references, "R"),
            ("comparison", config.comparisons, "C"),
        ):
            tokens = torch.zeros(count, space.max_length, dtype=torch.int64)
            self.register_buffer(f"{name}s_{suffix}L", tokens)
            self.register_buffer(f"{name}_lengths_{suffix}", torch.zeros_like(tokens[:, 0]))

    @property
    def references(self) -> Sequences:
        """U."""
        return Sequences(self.references_RL, self.reference_lengths_R)

    @property
    def comparisons(self) -> Sequences:
        """C."""
        return Sequences(self.comparisons_CL, self.comparison_lengths_C)

    def compare_with(self, references: Sequences, comparisons: Sequences) -> None:
        """Take U and C for what is ranked from now on; as many, and as wide, as there were."""
        self.references_RL.copy_(references.tokens_BL)
        self.reference_lengths_R.copy_(references.lengths_B)
        self.comparisons_CL.copy_(comparisons.tokens_BL)
        self.comparison_lengths_C.copy_(comparisons.lengths_B)

    def features(self, sequences: Sequences) -> Tensor:
        """y, float32 [B, F]; with dropout while training."""
        features_BF: Tensor = self.network.dropout(self.network.features(sequences))
        return features_BF

    def __call__(self, trajectories: Trajectories) -> Tensor:
        """See `Reward`: R of what was left on the tape."""
        references_RF = self.features(self.references)
        compared_CR = cosines(self.features(self.comparisons), references_RF)
        ranked_BF = self.features(survivors(self.space, trajectories))
        above_B, _ = log_ranks(cosines(ranked_BF, references_RF), compared_CR, self.config.gamma)
        return above_B.exp()
