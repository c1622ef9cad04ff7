"""psi-MLE: maximum likelihood on a mixture of data and own samples, weighted by density ratios.

Source: Song et al., "Improving Maximum Likelihood Training for Text Generation with Density Ratio
Estimation" (AISTATS 2020). With p_mix = m p_data + (1 - m) p_theta,

    max_theta  E_{z ~ p_mix}[ w(z) log p_theta(z) ],   w = p_data / p_mix  (constant in theta)

which is E_data[log p_theta] wherever w is right. The ratio r = p / q of data to its negatives is
estimated by minimising a Bregman divergence over psi (Sugiyama et al. 2012):

    L_psi = E_q[ f'(r) r - f(r) ] - E_p[ f'(r) ]

Deviations. The paper's Algorithm 1 and Table 4 carry two sign errors; both are derived afresh here.
The text wants q = p_mix, the algorithm uses q = p_theta: by default q = p_theta and the estimate r0
is turned into the bounded weight w = r0 / (m r0 + 1 - m) <= 1 / m, which cannot blow up; `mix` and
`raw` are the other two readings. The paper does not name the ratio network, its learning rate or
the number of steps: SeqGAN's CNN, one step an update. Every update uses fresh samples. The mixture
is stratified: of any 1/m rows one is real.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from learners.mle import MLEConfig, nll_of, schedule
from rubout.discriminators import DiscriminatorConfig, build
from rubout.learner import Context, Demand, Learner
from rubout.policy import Policy
from rubout.tape import survivors
from rubout.types import Sequences, Trajectories

Bregman = Literal["logistic", "quadratic", "softplus"]
Ratio = Literal["exp", "free"]
Weight = Literal["bounded", "mix", "raw"]
_LARGEST_LOG_RATIO = 10.0
_SMALLEST_RATIO = 1e-12


@dataclass(frozen=True)
class PsiMLEConfig(MLEConfig):
    """Options of psi-MLE."""

    mixture: float = 0.5
    """m: the share of real sequences in the mixture; 1 is maximum likelihood."""
    bregman: Bregman = "logistic"
    """f of the ratio's loss: t log t - (1+t) log(1+t), (t-1)^2 / 2, or log(1 + e^t)."""
    ratio: Ratio = "exp"
    """r = exp(s) of the network's output s, or r = s itself (not for `logistic`)."""
    weight: Weight = "bounded"
    """Negatives p_theta and w = r0 / (m r0 + 1 - m); negatives p_mix and w = r; or w = r0."""
    flatten: float = 1.0
    """Exponent on the weights; 1: none."""
    normalise: bool = True
    """Divide the weights by their mean over the batch."""
    mle_updates: int = 500
    """Updates of plain maximum likelihood before the weights are used."""
    warmup: int = 200
    """How many of the last of those also train the ratio."""
    ratio_steps: int = 1
    """Steps of the ratio network per update."""
    ratio_lr: float = 0.0001
    """Adam's learning rate for the ratio network."""
    network: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The ratio network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio_steps < 1 or self.ratio_lr < 0:
            raise ValueError(
                "learner.ratio-steps must be at least 1, learner.ratio-lr not negative"
            )
        if min(self.warmup, self.mle_updates) < 0:
            raise ValueError("learner.warmup and learner.mle-updates must not be negative")
        if not 0 <= self.mixture <= 1:
            raise ValueError(f"learner.mixture must be between 0 and 1, not {self.mixture}")
        if self.bregman == "logistic" and self.ratio == "free":
            raise ValueError(
                "learner.ratio free needs learner.bregman quadratic or softplus: "
                "the logistic loss is not defined for a negative ratio"
            )


def bregman_loss(
    outputs_q: Tensor, outputs_p: Tensor, bregman: Bregman, ratio: Ratio
) -> tuple[Tensor, Tensor]:
    """The two terms of L_psi, one value a sample.

    Args:
        outputs_q: float32 [B], the network on samples of the denominator.
        outputs_p: float32 [C], the network on samples of the numerator.
        bregman: f.
        ratio: how r follows from the output.

    Returns:
        f'(r) r - f(r) for each of q [B], and -f'(r) for each of p [C]; L_psi is the sum of the
        means. For `logistic` and r = exp(s) these are softplus(s) and softplus(-s).
    """
    if bregman == "logistic":
        assert ratio == "exp"
        return functional.softplus(outputs_q), functional.softplus(-outputs_p)
    r_q, r_p = to_ratio(outputs_q, ratio), to_ratio(outputs_p, ratio)
    if bregman == "quadratic":
        return (r_q.square() - 1) / 2, 1 - r_p
    return torch.sigmoid(r_q) * r_q - functional.softplus(r_q), -torch.sigmoid(r_p)


def to_ratio(outputs: Tensor, ratio: Ratio) -> Tensor:
    """The ratio r from the network's output; exp is capped at e^10."""
    return outputs.clamp(max=_LARGEST_LOG_RATIO).exp() if ratio == "exp" else outputs


def mixture_weights(ratios: Tensor, mixture: float, weight: Weight) -> Tensor:
    """w = p_data / p_mix from the estimated ratio.

    Args:
        ratios: float32 [B], p_data / p_mix for `mix`, else p_data / p_theta; negative values, which
            a free ratio may take, count as 0.
        mixture: m.
        weight: see `PsiMLEConfig.weight`.

    Returns:
        float32 [B], at most 1 / m for `bounded`.
    """
    if weight != "bounded":
        return ratios.clamp(min=0)
    ratios = ratios.clamp(min=_SMALLEST_RATIO)  # 0 / 0 where m is 1
    return ratios / (mixture * ratios + (1 - mixture))


def real_rows(batch_size: int, mixture: float) -> Tensor:
    """Which rows of a mixture are real: bool [B], evenly spread, floor(m B) of them."""
    steps = torch.arange(batch_size + 1, dtype=torch.float64)
    counts = torch.floor(steps * mixture + 1e-9)
    return counts[1:] > counts[:-1]


class PsiMLE(Learner):
    """See the module."""

    Config = PsiMLEConfig
    uses_rollouts = True

    def __init__(self, policy: Policy, config: PsiMLEConfig, context: Context) -> None:
        super().__init__(policy, context)
        self.config = config
        self.network = build(context.space.num_tokens, context.space.max_length, config.network)
        self.network.to(context.device)
        self.optimizer = torch.optim.Adam(
            policy.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.ratio_optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.ratio_lr, fused=True
        )
        self._updates = 0

    def demand(self, update: int) -> Demand:
        """Two fakes for each real sequence, once the ratio is in use; none where m is 1."""
        if self.config.mixture == 1 or update < self.config.mle_updates - self.config.warmup:
            return Demand()
        return Demand(rollouts=2 * self.context.batch_size)

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`. Even fakes are negatives, odd ones may join the mix."""
        weighted = rollouts is not None and self._updates >= self.config.mle_updates
        self._updates += 1
        if rollouts is None:
            return self._fit(data, torch.ones(len(data), device=self.context.device))
        space = self.context.space
        is_real = self._real_rows(len(data))
        real, joined = survivors(space, data), survivors(space, rollouts[1::2])
        mix = _choose(is_real, real, joined)
        negatives = mix if self.config.weight == "mix" else survivors(space, rollouts[::2])
        metrics = {}
        for _ in range(self.config.ratio_steps):
            metrics = self._fit_ratio(negatives, real)
        if not weighted:
            return self._fit(data, torch.ones(len(data), device=self.context.device)) | metrics
        weights_B, about = self._weights(mix, is_real)
        typed = Trajectories.cat([data, rollouts[1::2].unpaid()])
        rows = torch.arange(len(data), device=is_real.device)
        chosen = typed[torch.where(is_real, rows, rows + len(data))]
        return self._fit(chosen, weights_B) | metrics | about

    def _real_rows(self, count: int) -> Tensor:
        """This learner's part of `real_rows` of the group's batch."""
        group = self.context.group
        whole = real_rows(count * group.size, self.config.mixture)
        return whole[count * group.rank : count * (group.rank + 1)].to(self.context.device)

    def _fit(self, batch: Trajectories, weights_B: Tensor) -> dict[str, float]:
        total = self.context.group.sum(batch.num_actions_B.sum())
        loss = nll_of(self.policy, batch, weights_B, total)
        schedule(self.optimizer, self.config)
        norm = self.step(loss, self.optimizer, self.policy.parameters(), self.config.clip)
        return {"loss": float(self.context.group.sum(loss)), "gradient_norm": norm}

    def _fit_ratio(self, negatives: Sequences, real: Sequences) -> dict[str, float]:
        group = self.context.group
        self.network.train()
        outputs = self.network(Sequences.cat([negatives, real]))
        outputs_q, outputs_p = outputs[: len(negatives)], outputs[len(negatives) :]
        terms_q, terms_p = bregman_loss(
            outputs_q, outputs_p, self.config.bregman, self.config.ratio
        )
        count_q = group.sum(torch.tensor(float(len(negatives)), device=outputs.device))
        count_p = group.sum(torch.tensor(float(len(real)), device=outputs.device))
        loss = terms_q.sum() / count_q + terms_p.sum() / count_p
        self.step(loss, self.ratio_optimizer, self.network.parameters(), self.config.clip)
        ratios_q = to_ratio(outputs_q.detach(), self.config.ratio)
        return {
            "ratio/loss": float(group.sum(loss)),
            # E_q[p / q] = 1: how far the estimate is from a ratio at all.
            "ratio/mean_over_q": float(group.sum(ratios_q.sum()) / count_q),
        }

    @torch.no_grad()
    def _weights(self, mix: Sequences, is_real: Tensor) -> tuple[Tensor, dict[str, float]]:
        config, group = self.config, self.context.group
        self.network.eval()
        ratios_B = to_ratio(self.network(mix), config.ratio)
        weights_B = mixture_weights(ratios_B, config.mixture, config.weight) ** config.flatten
        sums = group.sum(
            torch.stack(
                [
                    torch.ones_like(weights_B).sum(),
                    weights_B.sum(),
                    weights_B.square().sum(),
                    is_real.sum().float(),
                    (weights_B * is_real).sum(),
                ]
            )
        )
        count, total, squares, reals, real_total = sums.tolist()
        about = {
            "weights/ess": total**2 / max(squares, 1e-30) / count,
            "weights/real": real_total / reals if reals else 0.0,
            "weights/fake": (total - real_total) / (count - reals) if count > reals else 0.0,
        }
        if config.normalise:
            weights_B = weights_B * (count / max(total, 1e-30))
        return weights_B, about

    def modules(self) -> dict[str, nn.Module]:
        """See `Learner.modules`."""
        return {"policy": self.policy, "ratio": self.network}

    def optimizers(self) -> dict[str, Optimizer]:
        """See `Learner.optimizers`."""
        return {"policy": self.optimizer, "ratio": self.ratio_optimizer}

    def state(self) -> dict[str, float | int | str]:
        """See `Learner.state`."""
        return {"updates": self._updates}

    def load_state(self, state: Mapping[str, float | int | str]) -> None:
        """See `Learner.load_state`."""
        self._updates = int(state["updates"])


def _choose(is_real: Tensor, real: Sequences, fake: Sequences) -> Sequences:
    """Row by row one or the other."""
    return Sequences(
        torch.where(is_real.unsqueeze(1), real.tokens_BL, fake.tokens_BL),
        torch.where(is_real, real.lengths_B, fake.lengths_B),
    )
