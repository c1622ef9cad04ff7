"""Action logs to check with."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rubout.keys import blank, is_over, press
from rubout.policy import Policy
from rubout.types import ActionSpace, Sequences, Trajectories

_MOST_ACTIONS = 24  # of a log typed at random


def random_logs(
    space: ActionSpace,
    count: int,
    seed: int,
    *,
    with_prompts: bool = False,
    policy: Policy | None = None,
    prefixes: Sequences | None = None,
) -> Trajectories:
    """Action logs of legal actions drawn at random.

    Args:
        space: what may be typed; logs are cut off after 24 actions at the latest.
        count: B.
        seed: of the draws.
        with_prompts: begin with prompts of 0 to L - 1 tokens.
        policy: draws from its distribution; None: tokens alike, a third as many backspaces.
        prefixes: the actions that each log begins with; None: all are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    prompts = _random_prompts(space, count, generator) if with_prompts else None
    state = blank(space, count, prompts, "cpu")
    typing = None if policy is None else policy.start(count, prompts)
    over = terminated = torch.zeros(count, dtype=torch.bool)
    actions: list[Tensor] = []
    log_probs: list[Tensor] = []
    active: list[Tensor] = []
    while not bool(over.all()) and len(actions) < _MOST_ACTIONS:
        logits = _plain_logits(space, count) if typing is None else typing.logits().detach().cpu()
        legal = space.mask(state.legality(space)) | over.unsqueeze(1)
        log_softmax = logits.masked_fill(~legal, -torch.inf).log_softmax(1)
        chosen = torch.multinomial(log_softmax.exp(), 1, generator=generator)
        if prefixes is not None and len(actions) < prefixes.tokens_BL.shape[1]:
            is_given = len(actions) < prefixes.lengths_B.unsqueeze(1)
            given = prefixes.tokens_BL[:, len(actions) : len(actions) + 1]
            chosen = torch.where(is_given, given, chosen)
        actions.append(chosen.squeeze(1))
        log_probs.append(log_softmax.gather(1, chosen).squeeze(1))
        active.append(~over)
        state, keys = press(space, state, actions[-1], active[-1])
        if typing is not None:
            typing.step(actions[-1], keys)
        ended, cut = is_over(space, state, keys)
        terminated = terminated | (active[-1] & ended)
        over = over | ended | cut
    real = torch.stack(active, dim=1)
    return Trajectories(
        actions_BT=torch.stack(actions, dim=1).masked_fill(~real, 0),
        log_probs_BT=torch.stack(log_probs, dim=1).masked_fill(~real, 0),
        num_actions_B=real.sum(1),
        terminated_B=terminated,
        policy_version_B=torch.zeros(count, dtype=torch.int64),
        prompts=prompts,
    )


def _random_prompts(space: ActionSpace, count: int, generator: torch.Generator) -> Sequences:
    lengths = torch.randint(0, space.max_length, (count,), generator=generator)
    tokens = torch.randint(0, space.num_tokens, (count, int(lengths.max())), generator=generator)
    prompts = Sequences(tokens, lengths)
    return replace(prompts, tokens_BL=tokens.masked_fill(~prompts.mask_BL, 0))


def _plain_logits(space: ActionSpace, count: int) -> Tensor:
    logits = torch.zeros(count, space.size)
    if space.backspace:  # a third of what is typed, however many tokens there are
        logits[:, space.backspace_id] = math.log(space.num_tokens / 2)
    return logits
