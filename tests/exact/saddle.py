"""The saddle point of SequenceMatch, term by term, its states counted by hand.

Per trajectory, with w_t = gamma^t, N actions and V_N the value after the last:

    LIN  = -(1/alpha) [ sum_t w_t phi(alpha x_t) + gamma^N/(1-gamma) phi(alpha (1-gamma) V_N) ]
    VAL  = sum_t w_t (V(s_t) - gamma V(s_{t+1})) + gamma^N V_N
    loss = LIN(data) + 1/2 VAL(data) + 1/2 VAL(rollouts)

where a log that was cut off has gamma^N V_N in the place of the infinite tail, and the mixture has
half the square of phi(r) = r - r^2 / 4 over rollouts. No line of the learner is used here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rubout.checks import random_logs
from rubout.types import ActionSpace, Trajectories
from tests.exact.tabular import TabularPolicy

Phi = Callable[[Tensor], Tensor]

GAMMA = 0.9
SPACE = ActionSpace(3, 4, backspace=True, max_actions=8)
DATA, ROLLOUTS = random_logs(SPACE, 40, 1), random_logs(SPACE, 40, 2)
PHI: dict[str, Phi] = {
    "chi2": lambda r: r - r.square() / 4,
    "reverse-kl": lambda r: 1 - (-r).exp(),
    "forward-kl": lambda r: 1 + r.log(),
    "jensen-shannon": lambda r: (2 - (-r).exp()).log(),
    "hellinger": lambda r: r / (1 + r),
}
PHI["chi2-mixture"] = PHI["chi2"]
FORMS = [(name, terminal) for name in PHI for terminal in ("zero", "eos")]
FORMS.remove(("forward-kl", "zero"))


def table(seed: int = 3) -> TabularPolicy:
    """Any logits: in every state their sum is another."""
    torch.manual_seed(seed)
    policy = TabularPolicy(SPACE).double()
    with torch.no_grad():
        policy.head.weight.mul_(2).add_(torch.randn(policy.num_rows))
    return policy


def visited(policy: TabularPolicy, actions: list[int]) -> list[int]:
    """The rows of the table that a log passes through."""
    stack: tuple[int, ...] = ()
    rows = [0]
    for action in actions:
        if action < SPACE.num_tokens:
            stack = (*stack, action)
        elif action == SPACE.backspace_id:
            stack = stack[:-1]
        rows.append(policy.row(stack, ended=action == SPACE.eos_id))
    return rows


@dataclass(frozen=True)
class Part:
    """What a log comes to: x [N], V(s_t) - gamma V(s_{t+1}) [N], V_N, and whether it ended."""

    x: Tensor
    difference: Tensor
    final: Tensor
    ended: bool

    @property
    def weights(self) -> Tensor:
        return GAMMA ** torch.arange(len(self.x), dtype=self.x.dtype)


def by_hand(
    policy: TabularPolicy, logs: Trajectories, terminal: str, shift: float = 0.0
) -> list[Part]:
    """A part for each log."""
    logits = policy.head.weight.T + policy.head.bias + shift
    parts = []
    for log, count in enumerate(logs.num_actions_B.tolist()):
        actions = logs.actions_BT[log, :count].tolist()
        ended = actions[-1] == SPACE.eos_id
        assert ended == bool(logs.terminated_B[log])
        rows = visited(policy, actions)
        values = [torch.logsumexp(logits[row, legal(policy, row)], 0) for row in rows]
        if ended:
            values[-1] = logits[rows[-1], SPACE.eos_id] * (terminal == "eos")
        value_S = torch.stack(values)
        chosen = logits[rows[:-1], actions]
        parts.append(
            Part(
                chosen - GAMMA * value_S[1:], value_S[:-1] - GAMMA * value_S[1:], value_S[-1], ended
            )
        )
    return parts


def legal(policy: TabularPolicy, row: int) -> list[int]:
    """The actions of a state."""
    full = policy.num_prefixes - SPACE.num_tokens**SPACE.max_length  # the first full tape
    tokens = list(range(SPACE.num_tokens)) if row < full else []
    return [*tokens, SPACE.eos_id] + [SPACE.backspace_id] * (row > 0)


def lin(part: Part, phi: Phi, alpha: float, terminal: str) -> Tensor:
    total = (part.weights * phi(alpha * part.x)).sum() / alpha
    left = GAMMA ** len(part.x)
    if not part.ended:
        return -total - left * part.final
    if terminal == "zero":
        return -total
    return -total - left / (1 - GAMMA) * phi(alpha * (1 - GAMMA) * part.final) / alpha


def val(part: Part) -> Tensor:
    return (part.weights * part.difference).sum() + GAMMA ** len(part.x) * part.final


def saddle(
    policy: TabularPolicy, name: str, alpha: float, terminal: str, shift: float = 0.0
) -> Tensor:
    """The loss as the saddle point has it, the mean over DATA and ROLLOUTS."""
    phi = PHI[name]
    data = by_hand(policy, DATA, terminal, shift)
    rollouts = by_hand(policy, ROLLOUTS, terminal, shift)
    if name == "chi2-mixture":

        def square(part: Part) -> Tensor:
            return lin(part, phi, alpha, terminal) - lin(part, lambda r: r, alpha, terminal)

        terms = [lin(part, lambda r: r, alpha, terminal) for part in data]
        terms = [term + square(part) / 2 for term, part in zip(terms, data, strict=True)]
        terms = [term + square(part) / 2 for term, part in zip(terms, rollouts, strict=True)]
    else:
        terms = [lin(part, phi, alpha, terminal) for part in data]
    terms = [term + val(part) / 2 for term, part in zip(terms, data, strict=True)]
    terms = [term + val(part) / 2 for term, part in zip(terms, rollouts, strict=True)]
    return torch.stack(terms).mean()
