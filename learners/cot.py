"""CoT: cooperative training of a generator and a mediator that models their mixture with the data.

Source: Lu et al., "CoT: Cooperative Training for Generative Modeling of Discrete Data" (ICML 2019).
The mediator M is a language model fitted to half data, half samples of the generator G:

    max_M  1/2 E_{x ~ p}[ log M(x) ] + 1/2 E_{x ~ G}[ log M(x) ]            (the balanced NLL)

so that M estimates (p + G) / 2, and G descends the estimate of the Jensen-Shannon divergence that
this gives, whose part in G is E_{x ~ G}[ log G(x) - log M(x) ]:

    min_G  E_{x ~ G} sum_t KL( G(. | x_<t) || M(. | x_<t) )

The prefixes x_<t are constants: the gradient goes through the full softmax, and no reward is drawn.

Deviations. To hold the prefixes constant leaves out how they depend on G: what is descended is not
the whole gradient of the divergence of sequences, although both vanish where G = M = p.
`full_gradient` adds the missing term, by the score function, in a pass of its own: a generator with
dropout draws another mask there. One batch of samples serves the step of G and then that of M; the
code draws two. Both losses are means over actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from learners.mle import MLE, MLEConfig, schedule
from rubout.learner import Context, Demand
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policy import Policy
from rubout.types import Trajectories


@dataclass(frozen=True)
class CoTConfig(MLEConfig):
    """Options of cooperative training."""

    lr: float = 0.001
    """Adam's learning rate for the generator."""
    clip: float = 0.0
    """Largest global gradient norm of either; 0: no clipping."""
    beta2: float = 0.95
    """Adam's second decay rate, of both."""
    mle_updates: int = 0
    """Updates of maximum likelihood before; the method needs none."""
    mediator: LSTMConfig = field(
        default_factory=lambda: LSTMConfig(embedding=64, hidden=64, dropout=0.5)
    )
    """The mediator, an LSTM; its dropout is on in its own steps alone."""
    mediator_lr: float = 0.003
    """Adam's learning rate for the mediator."""
    mediator_steps: int = 1
    """Steps of the mediator per update, all on the same batch."""
    full_gradient: bool = False
    """Add how the prefixes depend on the generator, by the score function."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mediator_lr < 0 or self.mediator_steps < 1 or self.mle_updates < 0:
            raise ValueError(
                "learner.mediator-lr and learner.mle-updates must not be negative, "
                "learner.mediator-steps must be at least 1"
            )
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"learner.beta2 must be in [0, 1), not {self.beta2}")


class CoT(MLE):
    """See the module."""

    Config = CoTConfig
    config: CoTConfig
    uses_rollouts = True

    def __init__(self, policy: Policy, config: CoTConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.mediator = LSTMPolicy(context.space, config.mediator).to(context.device)
        self.optimizer = torch.optim.Adam(
            policy.parameters(),
            lr=config.lr,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.mediator_optimizer = torch.optim.Adam(
            self.mediator.parameters(), lr=config.mediator_lr, betas=(0.9, config.beta2), fused=True
        )

    def demand(self, update: int) -> Demand:
        """A sample for each real sequence."""
        return Demand(rollouts=self.context.batch_size if update >= self.config.mle_updates else 0)

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`: first the generator, then the mediator."""
        if rollouts is None:
            return super().update(data, None)
        generator = self._teach_generator(rollouts)
        mediator: dict[str, float] = {}
        for _ in range(self.config.mediator_steps):
            mediator = self._teach_mediator(data, rollouts)
        own = self._total_actions(rollouts)
        share = float(own / (own + self._total_actions(data)))
        # Per action of either kind, and up to a constant: half the entropy of the data.
        jsd = mediator["mediator/balanced_nll"] - share * generator["generator/entropy"]
        return generator | mediator | {"jsd_shifted": jsd}

    def _teach_generator(self, rollouts: Trajectories) -> dict[str, float]:
        """One step on the divergences of all states."""
        ones_BT = torch.ones_like(rollouts.log_probs_BT)
        loss, kl_BT, log_probs_BT = self.policy.weighted_divergence(
            self.mediator.eval(), rollouts, ones_BT
        )
        if self.config.full_gradient:
            # An action bears all that comes after it; at its own state there is a gradient already.
            later_BT = kl_BT.flip(1).cumsum(1).flip(1) - kl_BT
            score, _ = self.policy.weighted_log_likelihood(rollouts, later_BT)
            loss = loss + score  # for its gradient: what is reported is the divergence alone
        total = self._total_actions(rollouts)
        sums = torch.stack([kl_BT.sum(), -log_probs_BT.sum()])
        schedule(self.optimizer, self.config)
        parameters = self.policy.parameters()
        norm = self.step(loss / total, self.optimizer, parameters, self.config.clip)
        kl, entropy = (self.context.group.sum(sums) / total).tolist()
        return {"generator/kl": kl, "generator/entropy": entropy, "generator/gradient_norm": norm}

    def _teach_mediator(self, data: Trajectories, rollouts: Trajectories) -> dict[str, float]:
        """One step on the balanced NLL."""
        parts = data, rollouts
        sums = []
        for part in parts:
            weights_BT = -torch.ones_like(part.log_probs_BT)
            sums.append(self.mediator.train().weighted_log_likelihood(part, weights_BT)[0])
        on_data, on_own = sums
        totals = [self._total_actions(part) for part in parts]
        # Half of the sequences are real: the mean over actions is over all of them.
        loss = (on_data + on_own) / (totals[0] + totals[1])
        parameters = self.mediator.parameters()
        norm = self.step(loss, self.mediator_optimizer, parameters, self.config.clip)
        group = self.context.group
        return {
            "mediator/balanced_nll": float(group.sum(loss)),
            "mediator/nll_data": float(group.sum(on_data) / totals[0]),
            "mediator/nll_own": float(group.sum(on_own) / totals[1]),
            "mediator/gradient_norm": norm,
        }

    def _total_actions(self, trajectories: Trajectories) -> Tensor:
        return self.context.group.sum(trajectories.num_actions_B.sum())

    def modules(self) -> dict[str, nn.Module]:
        """See `Learner.modules`."""
        return {"policy": self.policy, "mediator": self.mediator}

    def optimizers(self) -> dict[str, Optimizer]:
        """See `Learner.optimizers`."""
        return {"policy": self.optimizer, "mediator": self.mediator_optimizer}
