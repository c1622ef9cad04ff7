"""What a prefix is worth: by all that can be typed on from it, and by typing on from it once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from rubout.keys import blank, is_over, press
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.transformer import TransformerConfig, TransformerPolicy
from rubout.policy import Policy
from rubout.rollout.draw import uniforms
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.conftest import T, V
from tests.exact.tabular import TabularPolicy

FULL = ActionSpace(V, T, eos=False)
EOS = ActionSpace(V, T)
BACKSPACE = ActionSpace(2, 2, max_actions=5, backspace=True)
SPACES = {"full": FULL, "eos": EOS, "backspace": BACKSPACE}


def tabular(space: ActionSpace) -> TabularPolicy:
    torch.manual_seed(5)
    policy = TabularPolicy(space)
    torch.nn.init.normal_(policy.head.weight, std=0.5)
    return policy


def lstm(space: ActionSpace) -> Policy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(layers=2, embedding=6, hidden=7, init_std=0.7))


def transformer(space: ActionSpace) -> Policy:
    torch.manual_seed(5)
    policy = TransformerPolicy(space, TransformerConfig(layers=2, width=8, heads=2))
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return policy


POLICIES = {"tabular": tabular, "lstm": lstm, "transformer": transformer}


@dataclass(frozen=True)
class Worth:
    """Another number for every log, cut off or not, and prompt: [B], or [B, T]."""

    space: ActionSpace
    by_action: bool = False

    def __call__(self, logs: Trajectories) -> Tensor:
        base = self.space.size + 1
        powers = base ** torch.arange(logs.actions_BT.shape[1])
        code = ((logs.actions_BT + 1) * logs.mask_BT * powers).sum(1) * 64 + logs.terminated_B
        if logs.prompts is not None:
            code = code + 7 * ((logs.prompts.tokens_BL + 3) * logs.prompts.mask_BL).sum(1)
        if self.by_action:  # what an action earns depends on what is typed later as well
            code = code.unsqueeze(1) + torch.arange(logs.actions_BT.shape[1]) * 7919
        value = uniforms(11, code.flatten(), 0).view(code.shape) * 4 - 1
        return value.masked_fill(~logs.mask_BT, 0) if self.by_action else value


@cache
def exact_values(
    space: ActionSpace, by_action: bool, step_penalty: float, prompt: tuple[int, ...] = ()
) -> dict[tuple[int, ...], float]:
    """Q of every prefix of every log that the table types, by its actions."""
    policy = tabular(space)
    table = (policy.head.weight.T + policy.head.bias).detach().double().numpy()
    found: list[tuple[list[int], float, bool]] = []

    def go_on(tape: tuple[int, ...], actions: list[int], chance: float) -> None:
        """Plain Python: what is legal, and what an action does."""
        legal = list(range(space.num_tokens)) if len(tape) < space.max_length else []
        legal += [space.eos_id] * space.eos
        legal += [space.backspace_id] * (space.backspace and len(tape) > len(prompt))
        weights = np.exp(table[policy.row(tape)][legal])
        for action, share in zip(legal, weights / weights.sum(), strict=True):
            after = tape if action == space.eos_id else (*tape, action)
            after = tape[:-1] if action == space.backspace_id else after
            log = [*actions, action]
            ended = action == space.eos_id if space.eos else len(after) == space.max_length
            if ended or len(log) == space.action_limit:
                found.append((log, chance * share, ended))
            else:
                go_on(after, log, chance * share)

    go_on(prompt, [], 1.0)
    typed = Sequences.of([log for log, _, _ in found])
    count_B = torch.zeros_like(typed.lengths_B)
    logs = Trajectories(
        typed.tokens_BL,
        torch.zeros(typed.tokens_BL.shape),
        typed.lengths_B,
        torch.tensor([ended for _, _, ended in found]),
        count_B,
        Sequences.of([list(prompt)] * len(found)) if prompt else None,
    )
    earned_BT = Worth(space, by_action)(logs).double()
    if not by_action:
        last_B1 = typed.lengths_B.unsqueeze(1) - 1
        zeros_BT = torch.zeros(typed.tokens_BL.shape, dtype=torch.float64)
        earned_BT = zeros_BT.scatter(1, last_B1, earned_BT.unsqueeze(1))
    earned_BT = (earned_BT - step_penalty) * logs.mask_BT
    to_go_BT = earned_BT.flip(1).cumsum(1).flip(1).tolist()
    total: dict[tuple[int, ...], float] = {}
    mass: dict[tuple[int, ...], float] = {}
    for (log, chance, _), to_go in zip(found, to_go_BT, strict=True):
        for step, value in zip(range(len(log)), to_go, strict=False):
            prefix = tuple(log[: step + 1])
            total[prefix] = total.get(prefix, 0.0) + chance * value
            mass[prefix] = mass.get(prefix, 0.0) + chance
    assert sum(chance for _, chance, _ in found) == pytest.approx(1.0)
    return {prefix: total[prefix] / mass[prefix] for prefix in total}


def prompts_for(space: ActionSpace, count: int) -> Sequences:
    rows = range(count)
    return Sequences.of([[row % space.num_tokens] * (row % space.max_length) for row in rows])


def prompt_of(drawn: Trajectories, row: int) -> tuple[int, ...]:
    return () if drawn.prompts is None else tuple(drawn.prompts.lists()[row])


@dataclass(frozen=True)
class Chosen:
    """How a request is drawn."""

    seed: int
    temperature: float = 1.0
    suppress: tuple[int, ...] = ()


def typed_on(
    policy: Policy, prompts: Sequences | None, begun: list[int], chosen: Chosen, number: int
) -> Trajectories:
    """One completion, typed by itself from an empty tape."""
    space, actions = policy.space, list(begun)
    generation, state = policy.start(1, prompts), blank(policy.space, 1, prompts, "cpu")
    for action in begun:
        state, keys = press(space, state, torch.tensor([action]))
        generation.step(torch.tensor([action]), keys)
    while True:
        u = float(uniforms(chosen.seed, torch.tensor([number]), len(actions)))
        legal = space.mask(state.legality(space))[0]
        legal[list(chosen.suppress)] = False
        logits = (generation.logits()[0].double() / chosen.temperature).detach()
        cdf = logits.masked_fill(~legal, -torch.inf).softmax(0).cumsum(0)
        actions.append(int(torch.searchsorted(cdf, u * cdf[-1], right=True)))
        state, keys = press(space, state, torch.tensor(actions[-1:]))
        generation.step(torch.tensor(actions[-1:]), keys)
        ended, cut = is_over(space, state, keys)
        if bool(ended | cut):
            log = Sequences.of([actions])
            zeros = torch.zeros_like(log.tokens_BL, dtype=torch.float32)
            return Trajectories(
                log.tokens_BL, zeros, log.lengths_B, ended, log.lengths_B * 0, prompts
            )
