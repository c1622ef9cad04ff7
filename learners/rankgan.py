"""RankGAN: the policy gradient of a rank among real sequences.

Source: Lin et al., "Adversarial Ranking for Language Generation" (NIPS 2017). A ranker says how a
sequence s compares with a set C as seen from references U, R(s | U, C) (`rubout.ranker`), and

    min_G max_R  E_data[ log R(s | U, C-) ] + E_G[ log(1 - R(s | U, C+)) ]

with U and C+ real, C- the generator's. The generator ascends E_G[ R(s | U, C+) ] as SeqGAN's does
E_G[ D ]: by Monte-Carlo completions of every prefix.

U, C+ and what is ranked as real are different rows of one batch: a reference is most like itself.
While the generator is trained, U and C+ are those of the real batch before its update, the same for
all rollouts of it.

Deviations. The authors' code takes the sum of similarities to all references first, and its softmax
over whatever is in the batch, real or not; here is what the paper says. The features pass through
dropout while the ranker is trained, as in that code. No baseline by default, as in SeqGAN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn

from learners.adversarial import phase
from learners.seqgan import SeqGAN, SeqGANConfig
from rubout.discriminators import SequenceNetwork
from rubout.learner import Context, Judge
from rubout.options import to_dict
from rubout.policy import Policy
from rubout.ranker import Ranker, RankerConfig, cosines, log_ranks
from rubout.tape import survivors
from rubout.types import Sequences, Trajectories


@dataclass(frozen=True)
class RankGANConfig(SeqGANConfig):
    """Options of RankGAN."""

    discriminator: RankerConfig = field(default_factory=RankerConfig)
    """The ranker."""
    discriminator_l2: float = 0.0
    """Must be 0: a ranker has no output layer to penalise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.discriminator_l2:
            raise ValueError("learner.discriminator-l2 must be 0: a ranker has no output layer")
        if self.mle_updates + self.discriminator_warmup < 1:
            raise ValueError(
                "learner.mle-updates or learner.discriminator-warmup must be at least 1: "
                "the first rank needs real sequences to compare with"
            )


class RankGAN(SeqGAN):
    """See the module."""

    Config: ClassVar[type[RankGANConfig]] = RankGANConfig
    config: RankGANConfig

    def __init__(self, policy: Policy, config: RankGANConfig, context: Context) -> None:
        held = config.discriminator.references + config.discriminator.comparisons
        if held > context.batch_size:
            raise ValueError(
                f"learner.discriminator.references and learner.discriminator.comparisons are of "
                f"one batch: together at most --batch-size {context.batch_size}, not {held}"
            )
        super().__init__(policy, config, context)

    def build_discriminator(self) -> SequenceNetwork:
        """See `Adversarial.build_discriminator`."""
        self.ranker = Ranker(self.context.space, self.config.discriminator)
        self.ranker.to(self.context.device)
        return self.ranker.network

    def judge(self) -> Judge:
        """See `Learner.judge`: the ranker."""
        name = f"{Ranker.__module__}:{Ranker.__name__}"
        return Judge(name, to_dict(self.config.discriminator), self.config.discriminator_share)

    def published(self) -> dict[str, nn.Module]:
        """See `Learner.published`."""
        return {"policy": self.policy, "reward": self.ranker}

    def modules(self) -> dict[str, nn.Module]:
        """See `Learner.modules`; the ranker with what it compares with."""
        return {"policy": self.policy, "discriminator": self.ranker}

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`."""
        metrics = super().update(data, rollouts)
        if phase(self.config, self.updates) == "generator":
            # The rollouts of the next update are judged as soon as this one is done.
            real = survivors(self.context.space, data)
            self.ranker.compare_with(*self._split(self._of_group(real)))
        return metrics

    def teach_discriminator(self, real: Sequences, fake: Sequences) -> dict[str, float]:
        """One step on real sequences and the policy's."""
        group, config = self.context.group, self.config.discriminator
        self.ranker.train()
        all_real = self._of_group(real)
        references, real_comparisons = self._split(all_real)
        own_comparisons = self._of_group(fake)[: config.comparisons]
        numbers_B = torch.arange(len(real), device=real.lengths_B.device) + group.rank * len(real)
        ranked = real[numbers_B >= config.references]
        parts = [references, real_comparisons, own_comparisons, ranked, fake]
        features_BF = self.ranker.features(Sequences.cat(parts))
        references_RF, *others = torch.split(features_BF, [len(part) for part in parts])
        with_real, with_own, to_real, to_fake = (cosines(part, references_RF) for part in others)
        above_real_B, _ = log_ranks(to_real, with_own, config.gamma)
        above_fake_B, below_fake_B = log_ranks(to_fake, with_real, config.gamma)
        reals = len(all_real) - config.references
        fakes = len(fake) * group.size
        loss = -above_real_B.sum() / reals - below_fake_B.sum() / fakes
        norm = self.step_discriminator(loss)
        ranks = torch.stack([above_real_B.exp().sum() / reals, above_fake_B.exp().sum() / fakes])
        on_real, on_fake = group.sum(ranks).tolist()
        return {
            "discriminator/loss": float(group.sum(loss)),
            "discriminator/rank_real": on_real,
            "discriminator/rank_fake": on_fake,
            "discriminator/gradient_norm": norm,
        }

    def _split(self, real: Sequences) -> tuple[Sequences, Sequences]:
        """U and C+ of the group's real batch."""
        config = self.config.discriminator
        held = config.references + config.comparisons
        return real[: config.references], real[config.references : held]

    def _of_group(self, part: Sequences) -> Sequences:
        """Every learner's sequences, in the order of their ranks."""
        group, rows = self.context.group, len(part)
        if group.size == 1:
            return part
        width = self.context.space.max_length
        sent = part.tokens_BL.new_zeros(rows * group.size, width + 1)
        mine = sent[rows * group.rank : rows * (group.rank + 1)]
        mine[:, :width], mine[:, width] = part.tokens_BL, part.lengths_B
        whole = group.sum(sent)
        return Sequences(whole[:, :width], whole[:, width])
