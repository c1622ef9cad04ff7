"""Networks that judge finished sequences: discriminators, density ratios, features to leak.

One file a network. What all share is `SequenceNetwork`; `build` makes one of its options, and
`Discriminator` turns one into a reward.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rubout.discriminators.cnn import SequenceCNN
from rubout.discriminators.config import FILTERS, DiscriminatorConfig
from rubout.discriminators.lstm import SequenceLSTM
from rubout.discriminators.network import SequenceNetwork, prefix_features
from rubout.discriminators.transformer import SequenceTransformer
from rubout.reward import Reward
from rubout.tape import survivors
from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories

__all__ = [
    "FILTERS",
    "Discriminator",
    "DiscriminatorConfig",
    "SequenceCNN",
    "SequenceLSTM",
    "SequenceNetwork",
    "SequenceTransformer",
    "build",
    "prefix_features",
]


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
        self,
        space: ActionSpace,
        config: DiscriminatorConfig,
        codec: Codec | None = None,
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
