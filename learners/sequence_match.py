"""SequenceMatch: the distribution of whole sequences, matched by imitation learning.

Source: Cundy and Ermon, "SequenceMatch: Imitation Learning for Autoregressive Sequence Modelling
with Backtracking" (ICLR 2024, arXiv:2306.05426), on IQ-Learn (Garg et al. 2021) and, for the
mixture, LS-IQ (Al-Hafez et al. 2023). Logits are soft Q-values, V(s) = logsumexp_a l(a | s), and

    x_t = l(a_t | s_t) - gamma V(s_{t+1}) = log pi(a_t | s_t) + V(s_t) - gamma V(s_{t+1})

is the reward, over alpha, that a policy implies. The saddle point of the paper, with the terms in
V telescoped, is a penalised likelihood (weights w_t = gamma^t, g the penalty of a divergence):

    L_SM = E_data[ -sum_t w_t log pi(a_t | s_t) ] + E_mu[ (1/alpha) sum_t w_t g(alpha x_t) ]

mu is the data, or, for the mixture, half data and half rollouts. Only there do rollouts matter:
they are constants, their scores are not. Training begins with behavioural cloning and goes on with
beta L_BC + (1 - beta) L_SM, beta falling from 1.

What the paper leaves open, and what is done here. Both losses are divided by the weights of the
batch's actions, never of one sequence. All logits are taken to be shifted by a constant, the same
in every state, that centres V on the first batch that sees L_SM. A slip of the environment bears no
penalty, because V(s') would be a sample of an expectation. The terminal V is the logit of `<eos>`
after `<eos>`, with the closed form of the absorbing state's infinite tail; or it is 0, and then to
end is as good a way out of a bad state as to rub out. Rollouts are used again from a buffer, fewer
of them than data, and scored anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learners import divergences
from learners.behavioural_cloning import BehaviouralCloningConfig
from learners.mle import MLE, schedule
from rubout.divergence import Divergence
from rubout.learner import Context, Demand
from rubout.policy import Policy
from rubout.replay_buffer import ReplayBuffer
from rubout.types import Trajectories

Terminal = Literal["zero", "eos"]


@dataclass(frozen=True)
class SequenceMatchConfig(BehaviouralCloningConfig):
    """Options of SequenceMatch."""

    divergence: str = "chi2-mixture"
    """chi2, chi2-mixture, reverse-kl, forward-kl, jensen-shannon, hellinger, or module:name."""
    alpha: float = 0.01
    """Strength of the entropy term: how hard the penalty pulls."""
    gamma: float = 0.998
    """Discount per action."""
    terminal: Terminal | None = None
    """V after `<eos>`: 0, or its logit there (default: eos, where sequences end by it)."""
    bc_updates: int = 500
    """Updates of behavioural cloning alone."""
    anneal_updates: int = 500
    """Updates over which beta then falls from 1."""
    beta: float = 0.2
    """Share of behavioural cloning in the end."""
    sample_every: int = 10
    """Updates between one batch of fresh rollouts and the next (mixture only)."""
    capacity: int = 10
    """Batches of rollouts in the replay buffer; the oldest is dropped."""
    stride: int = 8
    """One rollout is scored for so many real sequences; at 8 each is used about once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0 or not 0 < self.gamma < 1:
            raise ValueError("learner.alpha must be positive, learner.gamma between 0 and 1")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"learner.beta must be between 0 and 1, not {self.beta}")
        if min(self.bc_updates, self.anneal_updates) < 0:
            raise ValueError("learner.bc-updates and learner.anneal-updates must not be negative")
        if min(self.sample_every, self.capacity, self.stride) < 1:
            raise ValueError(
                "learner.sample-every, learner.capacity and learner.stride must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a policy's logits imply along B action logs, in units of logits.

    Attributes:
        x_BT: l(a|s) - gamma V(s'), 0 on padding.
        weights_BT: gamma^t, 0 on padding.
        final_B: V of the last state.
        tail_B: gamma^N / (1 - gamma), the weight of the absorbing state after N actions; 0 where
            there is none to count.
    """

    x_BT: Tensor
    weights_BT: Tensor
    final_B: Tensor
    tail_B: Tensor


def implied_rewards(
    log_probs_BT: Tensor,
    values_BS: Tensor,
    trajectories: Trajectories,
    gamma: float,
    terminal: Terminal,
    shift: float = 0.0,
) -> Rewards:
    """The inverse soft Bellman operator along action logs.

    Args:
        log_probs_BT: log pi(a_t | s_t).
        values_BS: V of every state and the last, S = T + 1.
        trajectories: the logs; those cut off keep the V of their last state.
        gamma: discount.
        terminal: V after the end: 0 and no tail, or what stands in `values_BS`.
        shift: added to all logits.
    """
    batch, steps = log_probs_BT.shape
    assert values_BS.shape == (batch, steps + 1)
    counts_B, done_B = trajectories.num_actions_B, trajectories.terminated_B
    end_B1 = counts_B.unsqueeze(1)
    final_B = values_BS.gather(1, end_B1).squeeze(1)
    if terminal == "zero":
        final_B = torch.where(done_B, -shift, final_B)
        values_BS = values_BS.scatter(1, end_B1, final_B.unsqueeze(1))
    mask_BT = trajectories.mask_BT
    # The shift may be large: it is added to differences, which are not.
    x_BT = log_probs_BT + values_BS[:, :-1] - gamma * values_BS[:, 1:] + (1 - gamma) * shift
    powers_S = gamma ** torch.arange(steps + 1, device=x_BT.device, dtype=x_BT.dtype)
    return Rewards(
        x_BT=torch.where(mask_BT, x_BT, 0.0),
        weights_BT=powers_S[:-1] * mask_BT,
        final_B=final_B + shift,
        tail_B=powers_S[counts_B] * (done_B & (terminal == "eos")) / (1 - gamma),
    )


def penalties(
    rewards: Rewards,
    divergence: Divergence,
    alpha: float,
    gamma: float,
    counted_BT: Tensor | None = None,
) -> Tensor:
    """(1/alpha) [ sum_t w_t g(alpha x_t) + gamma^N / (1 - gamma) g(alpha (1 - gamma) V_N) ].

    Args:
        rewards: along B logs.
        divergence: g.
        alpha: strength of the entropy.
        gamma: discount.
        counted_BT: bool, the actions that bear a penalty; None: all.

    Returns:
        [B].
    """
    weights_BT = rewards.weights_BT if counted_BT is None else rewards.weights_BT * counted_BT
    # Where nothing is weighed the penalty is taken at its minimum: 0 times infinity is not 0.
    x_BT = torch.where(weights_BT > 0, alpha * rewards.x_BT, divergence.neutral)
    tail_B = alpha * (1 - gamma) * rewards.final_B
    tail_B = torch.where(rewards.tail_B > 0, tail_B, divergence.neutral)
    steps_B = (weights_BT * divergence(x_BT)).sum(1)
    return (steps_B + rewards.tail_B * divergence(tail_B)) / alpha


class SequenceMatch(MLE):
    """See the module."""

    Config = SequenceMatchConfig
    config: SequenceMatchConfig
    uses_rollouts = True
    stands_for_run = "last"

    def __init__(self, policy: Policy, config: SequenceMatchConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.divergence = divergences.find(config.divergence)
        self.noise = config.noise.of(context.space.backspace)
        self.terminal: Terminal = config.terminal or ("eos" if context.space.eos else "zero")
        if self.terminal == "eos" and not context.space.eos:
            raise ValueError("learner.terminal eos needs a task whose sequences end by <eos>")
        if self.divergence.neutral and self.terminal == "zero":
            raise ValueError(
                f"learner.divergence {config.divergence} is neutral at a reward of "
                f"{self.divergence.neutral:g}, so that a V of 0 after the end does not fit: "
                f"it needs learner.terminal eos"
            )
        each = context.batch_size // context.group.size
        if self.divergence.mixture and each < config.stride:
            raise ValueError(
                "learner.stride must be at most the number of sequences of each learner"
            )
        self._buffer = ReplayBuffer(config.capacity)
        self._updates = 0
        self._shift: float | None = None

    def demand(self, update: int) -> Demand:
        """Slips; and for a mixture fresh rollouts every so many updates after the cloning."""
        since = update - self.config.bc_updates
        fresh = self.divergence.mixture and since >= 0 and since % self.config.sample_every == 0
        return Demand(rollouts=self.context.batch_size if fresh else 0, noise=self.noise)

    def beta(self, update: int) -> float:
        """The share of behavioural cloning in the loss of an update."""
        since = update - self.config.bc_updates
        if since < 0:
            return 1.0
        fallen = min((since + 1) / (self.config.anneal_updates + 1), 1.0)
        return 1.0 - fallen * (1.0 - self.config.beta)

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`."""
        update = self._updates
        self._updates += 1
        if rollouts is not None:
            self._buffer.add(rollouts)
        if update < self.config.bc_updates:
            return super().update(data, None)
        return self._match(update, data)

    def _match(self, update: int, data: Trajectories) -> dict[str, float]:
        """One step on beta L_BC + (1 - beta) L_SM."""
        config, group, count = self.config, self.context.group, len(data)
        typed = self._with_rollouts(update, data)
        scores = self.policy.score(typed, {"log_probs", "values"})
        log_probs_BT, values_BS = scores.log_probs_BT, scores.values_BS
        assert log_probs_BT is not None
        assert values_BS is not None
        if self._shift is None:
            self._shift = self._centre(values_BS[:count, :-1], data)
        rewards = implied_rewards(
            log_probs_BT, values_BS, typed, config.gamma, self.terminal, self._shift
        )
        as_meant_BT = typed.labels_BT == typed.actions_BT
        penalty_B = penalties(rewards, self.divergence, config.alpha, config.gamma, as_meant_BT)
        weights_BT, log_probs_BT = rewards.weights_BT[:count], log_probs_BT[:count]
        sums = [weights_BT.sum(dtype=torch.float64), data.num_actions_B.sum(dtype=torch.float64)]
        counts = weights_BT.new_tensor([count, len(typed) - count], dtype=torch.float64)
        totals = group.sum(torch.cat([torch.stack(sums), counts])).float()
        total_weight, total_actions, total_data, total_model = totals
        beta, on_data = self.beta(update), 0.5 if self.divergence.mixture else 1.0
        per_model = total_data / total_model.clamp(min=1)
        # The loss is linear in these: nothing else needs to remember how it was made.
        likely_BT = beta / total_actions + (1 - beta) / total_weight * weights_BT
        shares_B = torch.full_like(penalty_B, on_data)
        shares_B[count:] = (1 - on_data) * per_model
        penalty = (shares_B / total_weight * penalty_B).sum()
        loss = (1 - beta) * penalty - (likely_BT * log_probs_BT).sum()
        schedule(self.optimizer, self.config)
        norm = self.step(loss, self.optimizer, self.policy.parameters(), self.config.clip)
        with torch.no_grad():
            parts = {
                "loss": loss,
                "cloning": -log_probs_BT.sum() / total_actions,
                "nll": -(weights_BT * log_probs_BT).sum() / total_weight,
                "penalty_data": penalty_B[:count].sum() / total_weight,
                "penalty_model": penalty_B[count:].sum() * per_model / total_weight,
                "value_start": (values_BS[:count, 0] + self._shift).sum() / total_data,
                "reward_square": (weights_BT * rewards.x_BT[:count].square()).sum() / total_weight,
            }
            figures = group.sum(torch.stack(list(parts.values()))).tolist()
        return dict(zip(parts, figures, strict=True)) | {"beta": beta, "gradient_norm": norm}

    def _with_rollouts(self, update: int, data: Trajectories) -> Trajectories:
        """The batch, and behind it what the buffer gives: they are scored in one pass."""
        if not self.divergence.mixture:
            return data
        first_row = self.context.group.rank * len(data)
        replayed = self._buffer.take(update, first_row, self.config.stride)
        return Trajectories.cat([data, replayed.unpaid()])

    def _centre(self, values_BT: Tensor, data: Trajectories) -> float:
        """The shift of all logits under which data earn the neutral reward on the average."""
        values = values_BT[:, : data.actions_BT.shape[1]][data.mask_BT].detach()
        sums = torch.stack([values.sum(), values.new_tensor(len(values))])
        total, count = self.context.group.sum(sums.double()).tolist()
        neutral = self.divergence.neutral
        return float(neutral / (self.config.alpha * (1 - self.config.gamma)) - total / count)

    def state(self) -> dict[str, float | int | str]:
        """See `Learner.state`."""
        found: dict[str, float | int | str] = {"updates": self._updates}
        return found if self._shift is None else found | {"shift": self._shift}

    def load_state(self, state: Mapping[str, float | int | str]) -> None:
        """See `Learner.load_state`."""
        self._updates = int(state["updates"])
        self._shift = float(state["shift"]) if "shift" in state else None

    def memory(self) -> dict[str, Trajectories]:
        """See `Learner.memory`: the rollouts that will be used again."""
        return self._buffer.contents()

    def load_memory(self, memory: Mapping[str, Trajectories]) -> None:
        """See `Learner.load_memory`."""
        self._buffer.restore(memory)
