"""LeakGAN: the discriminator leaks its features; a manager says where they should go next.

Source: Guo et al., "Long Text Generation via Adversarial Training with Leaked Information" (AAAI
2018). The generator is `rubout.policies.leakgan`: f_t are the discriminator's features of what
stands on the tape after t actions, g_t the manager's sub-goal there. The two are taught apart:

    manager:  max  E sum_t R(Q(s_t, a_t)) cos(f_{t+c} - f_t, g_t)          t + c <= T
    worker:   max  E sum_t r_t log G(a_t | s_t),
              r_t = 1/c sum_{i=1..c} cos(f_{t+1} - f_{t+1-i}, g_{t+1-i})

Q is the mean verdict of Monte-Carlo completions that begin after every c-th action; an action
between has that of the next such prefix. R rescales it by its rank among the B sequences at that
step, R = sigmoid(delta (1/2 - rank / B)), the best having rank 1: the manager's rewards have the
same mean and spread whatever the discriminator says. In maximum likelihood, before and between the
adversarial updates, the worker is taught by log G and the manager by real text with R = 1.

Where the paper is silent: equal values share the mean of their ranks; near the start, where there
are less than c sub-goals, r_t is the mean over those there are; both losses are means over their
terms. Deviations from the official code, which does not do what the paper says: it takes one cosine
for the whole batch, and ranks in the order of a dictionary; here each step of each sequence has its
own. It samples from sharpened logits (times 1.5) and trains on others; here they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from learners.adversarial import Adversarial, RoundsConfig
from learners.mle import schedule, weighted_nll
from rubout.discriminators import Discriminator, SequenceNetwork
from rubout.learner import Context, Demand, Judge
from rubout.options import to_dict
from rubout.policies.leakgan import LeakGANPolicy
from rubout.policy import Policy
from rubout.types import Trajectories


@dataclass(frozen=True)
class LeakGANConfig(RoundsConfig):
    """Options of LeakGAN; the discriminator's own are `--policy.discriminator`."""

    lr: float = 0.0015
    """Adam's learning rate in maximum likelihood, of worker and manager."""
    pretraining_rounds: int = 10
    """In how many turns of maximum likelihood and the discriminator they are trained beforehand."""
    mle_per_round: int = 1
    """Updates of maximum likelihood in a round."""
    generator_lr: float = 0.0015
    """Adam's learning rate in the generator's own updates, of worker and manager."""
    discriminator_lr: float = 0.00005
    """Adam's learning rate for the discriminator."""
    completions: int = 4
    """Monte-Carlo completions of every c-th prefix."""
    rescale: Literal["rank", "none"] = "rank"
    """The manager's rewards: rescaled by rank, or the action values themselves."""
    delta: float = 12.0
    """How far apart `--learner.rescale rank` puts the best and the worst."""
    discriminator_share: float = 0.5
    """Weight of the discriminator where --reward names another reward, whose weight is the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.completions < 1:
            raise ValueError("learner.completions must be at least 1")
        if self.delta < 0:
            raise ValueError("learner.delta must not be negative")
        if not 0 <= self.discriminator_share <= 1:
            raise ValueError("learner.discriminator-share must be between 0 and 1")


def transitions(
    features_BSF: Tensor, subgoals_BTF: Tensor, num_actions_B: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """How well each sub-goal says where the features go.

    Args:
        features_BSF: float32 [B, S, F], f of every state, S = T + 1; constants.
        subgoals_BTF: float32 [B, T, F], g.
        num_actions_B: int64 [B].
        horizon: c.

    Returns:
        cos(f_{t+c} - f_t, g_t), float32 [B, T], 0 where the log is over before t + c; and where it
        is not, bool [B, T].
    """
    batch, steps, width = subgoals_BTF.shape
    assert features_BSF.shape == (batch, steps + 1, width)
    assert num_actions_B.shape == (batch,)
    assert not features_BSF.requires_grad
    places = torch.arange(steps, device=features_BSF.device)
    there_BT = places + horizon <= num_actions_B.unsqueeze(1)
    moved_BTF = features_BSF[:, (places + horizon).clamp(max=steps)] - features_BSF[:, :-1]
    cosines_BT = functional.cosine_similarity(moved_BTF, subgoals_BTF, dim=2)
    return cosines_BT.masked_fill(~there_BT, 0.0), there_BT


def intrinsic_rewards(features_BSF: Tensor, subgoals_BTF: Tensor, horizon: int) -> Tensor:
    """What the worker earns with each action: how far it went where the manager said.

    Args:
        features_BSF: float32 [B, S, F], f of every state, S = T + 1.
        subgoals_BTF: float32 [B, T, F], g.
        horizon: c.

    Returns:
        float32 [B, T], constants: of the action after state t, the mean over i = 1..min(c, t + 1)
        of cos(f_{t+1} - f_{t+1-i}, g_{t+1-i}).
    """
    batch, steps, width = subgoals_BTF.shape
    assert features_BSF.shape == (batch, steps + 1, width)
    features_BSF, subgoals_BTF = features_BSF.detach(), subgoals_BTF.detach()
    total_BT = features_BSF.new_zeros(batch, steps)
    for back in range(1, min(horizon, steps) + 1):
        moved = features_BSF[:, back:] - features_BSF[:, :-back]
        said = subgoals_BTF[:, : steps + 1 - back]
        total_BT[:, back - 1 :] += functional.cosine_similarity(moved, said, dim=2)
    counts_T = torch.arange(1, steps + 1, device=total_BT.device).clamp(max=horizon)
    return total_BT / counts_T


def rescaled(values_BT: Tensor, everyones_CT: Tensor, there_CT: Tensor, delta: float) -> Tensor:
    """Bootstrapped rescaled activation: values by their rank at each step.

    Args:
        values_BT: float32 [B, T].
        everyones_CT: float32 [C, T], the values of the group's batch, those B among them.
        there_CT: bool [C, T], which of them count.
        delta: how far the best and the worst are apart.

    Returns:
        float32 [B, T], sigmoid(delta (1/2 - rank / count)), where rank 1 is the largest value of
        the step and equal values have the mean of their ranks.
    """
    assert values_BT.shape[1:] == everyones_CT.shape[1:]
    assert everyones_CT.shape == there_CT.shape
    one_B1T, other_1CT = values_BT.unsqueeze(1), everyones_CT.unsqueeze(0)
    larger_BT = ((other_1CT > one_B1T) & there_CT).sum(1)
    equal_BT = ((other_1CT == one_B1T) & there_CT).sum(1)
    ranks_BT = larger_BT + (equal_BT.to(values_BT.dtype) + 1) / 2
    return torch.sigmoid(delta * (0.5 - ranks_BT / there_CT.sum(0).clamp(min=1)))


class LeakGAN(Adversarial):
    """See the module."""

    Config = LeakGANConfig
    config: LeakGANConfig
    policy: LeakGANPolicy
    default_policy = "leakgan"
    uses_rewards = True

    def __init__(self, policy: Policy, config: LeakGANConfig, context: Context) -> None:
        if not isinstance(policy, LeakGANPolicy):
            raise ValueError("learner leakgan needs --policy leakgan")
        super().__init__(policy, config, context)
        # In the place of those of the whole policy: worker and manager have moments of their own,
        # for maximum likelihood and for the generator's own updates, and each its own clipping.
        decay = config.weight_decay
        self.adams = {
            f"{part}_{kind}": torch.optim.Adam(parameters, lr=lr, weight_decay=wd, fused=True)
            for part, parameters in policy.parts().items()
            for kind, lr, wd in (("mle", config.lr, decay), ("generator", config.generator_lr, 0.0))
        }

    def build_discriminator(self) -> SequenceNetwork:
        """See `Adversarial.build_discriminator`: the one whose features the policy sees."""
        self.reward = Discriminator(self.context.space, self.policy.config.discriminator)
        self.reward.network = self.policy.discriminator
        return self.policy.discriminator.requires_grad_(True)

    def judge(self) -> Judge:
        """See `Learner.judge`: the discriminator."""
        name = f"{Discriminator.__module__}:{Discriminator.__name__}"
        options = to_dict(self.policy.config.discriminator)
        return Judge(name, options, self.config.discriminator_share)

    def published(self) -> dict[str, nn.Module]:
        """See `Learner.published`."""
        return {"policy": self.policy, "reward": self.reward}

    def generator_demand(self) -> Demand:
        """See `Adversarial.generator_demand`."""
        return Demand(
            rollouts=self.context.batch_size,
            completions=self.config.completions,
            every=self.policy.config.horizon,
        )

    def teach_by_likelihood(self, data: Trajectories) -> dict[str, float]:
        """See `Adversarial.teach_by_likelihood`: the manager learns how real text goes on."""
        group = self.context.group
        found = self.policy.hierarchy(data)
        total = group.sum(data.num_actions_B.sum())
        even_B = torch.ones_like(found.log_probs_BT[:, 0])
        worker = weighted_nll(found.log_probs_BT, data.num_actions_B, even_B, total)
        cosines_BT, there_BT = transitions(
            found.features_BSF, found.subgoals_BTF, data.num_actions_B, self.policy.config.horizon
        )
        manager = -cosines_BT.sum() / group.sum(there_BT.sum()).clamp(min=1)
        for part in ("worker", "manager"):
            schedule(self.adams[f"{part}_mle"], self.config)
        norms = self._step({"worker": worker, "manager": manager}, "mle")
        loss, cosine = group.sum(torch.stack([worker.detach(), -manager.detach()])).tolist()
        return {
            "loss": loss,
            "gradient_norm": norms["worker"],
            "manager/cosine": cosine,
            "manager/gradient_norm": norms["manager"],
        }

    def teach_generator(self, data: Trajectories, rollouts: Trajectories) -> dict[str, float]:
        """One step of the worker along its policy gradient, one of the manager along its own."""
        del data
        group, horizon = self.context.group, self.policy.config.horizon
        values_BT = rollouts.action_values_BT
        assert values_BT is not None
        found = self.policy.hierarchy(rollouts)
        mask_BT, log_probs_BT = rollouts.mask_BT, found.log_probs_BT
        rewards_BT = intrinsic_rewards(found.features_BSF, found.subgoals_BTF, horizon)
        cosines_BT, there_BT = transitions(
            found.features_BSF, found.subgoals_BTF, rollouts.num_actions_B, horizon
        )
        weights_BT = self._weights(values_BT, mask_BT)
        sums = [mask_BT.sum(), there_BT.sum(), values_BT.sum(), (rewards_BT * mask_BT).sum()]
        sums += [cosines_BT.detach().sum(), -log_probs_BT.detach().sum()]
        actions, terms, value, intrinsic, cosine, surprise = group.sum(
            torch.stack([item.double() for item in sums])
        ).tolist()
        worker = -(rewards_BT * log_probs_BT).sum() / actions
        manager = -(weights_BT * cosines_BT).sum() / max(terms, 1.0)
        norms = self._step({"worker": worker, "manager": manager}, "generator")
        return {
            "generator/value": value / actions,
            "generator/intrinsic": intrinsic / actions,
            "generator/entropy": surprise / actions,
            "generator/gradient_norm": norms["worker"],
            "manager/cosine": cosine / max(terms, 1.0),
            "manager/gradient_norm": norms["manager"],
        }

    def _weights(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """R of every action, constants [B, T]; ranks are those in the whole group's batch."""
        if self.config.rescale == "none":
            return values_BT
        group, (rows, steps) = self.context.group, values_BT.shape
        sent = values_BT.new_zeros(2, rows * group.size, self.context.space.action_limit)
        sent[:, rows * group.rank : rows * (group.rank + 1), :steps] = torch.stack(
            [values_BT, mask_BT.to(values_BT.dtype)]
        )
        everyones_CT, there_CT = group.sum(sent)[:, :, :steps]
        return rescaled(values_BT, everyones_CT, there_CT > 0, self.config.delta)

    def _step(self, losses: dict[str, Tensor], kind: str) -> dict[str, float]:
        """Each part along its own loss; the gradients' norms."""
        parts = self.policy.parts()
        return {
            part: self.step(loss, self.adams[f"{part}_{kind}"], parts[part], self.config.clip)
            for part, loss in losses.items()
        }

    def modules(self) -> dict[str, nn.Module]:
        """See `Learner.modules`; the discriminator is a part of the policy."""
        return {"policy": self.policy}

    def optimizers(self) -> dict[str, Optimizer]:
        """See `Learner.optimizers`."""
        return {**self.adams, "discriminator": self.discriminator_optimizer}
