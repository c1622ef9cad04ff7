"""Does a learner keep its contract?"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rubout import plugins
from rubout.checks.common import need, same
from rubout.checks.logs import random_logs
from rubout.learner import Alone, Context, Demand, Learner
from rubout.noise import inject
from rubout.options import build_reward
from rubout.policy import Policy
from rubout.reward import per_action
from rubout.types import ActionSpace, Sequences, Trajectories

_BATCH, _UPDATES = 8, 4  # of a learner's check
_Snapshot = dict[str, dict[str, Any]]


def check_learner(
    learner: type[Learner] | str,
    make_policy: Callable[[ActionSpace], Policy],
    config: object | None = None,
    space: ActionSpace | None = None,
    reward: Callable[[Trajectories], Tensor] | None = None,
) -> None:
    """Whether a learner learns, reports, and can be saved and resumed after any update.

    Args:
        learner: the class or its name.
        make_policy: makes a tiny policy on the CPU.
        config: the learner's options, such that the first four updates show all it does.
        space: what is typed; default: 5 tokens, 6 a sequence, `<eos>`.
        reward: pays the rollouts; None: they carry no rewards.
    """
    cls: Any = plugins.find("learner", learner) if isinstance(learner, str) else learner
    need(is_dataclass(cls.Config), f"{cls.__name__}.Config is not a dataclass")
    space = space or ActionSpace(5, 6)

    def build() -> Learner:
        _reseed(0)
        context = Context(space, _BATCH, torch.device("cpu"), Alone())
        options = cls.Config() if config is None else config
        return cls(make_policy(space), options, context)  # type: ignore[no-any-return]

    ours = build()
    need(ours.modules().get("policy") is ours.policy, 'modules() lacks the policy as "policy"')
    demands = [_demand(ours, update) for update in range(_UPDATES)]
    unsaved = {name: tensor.clone() for name, tensor in _unsaved(ours)}
    first = _snapshot(ours)
    for update in range(_UPDATES):
        saved = _snapshot(ours), json.loads(json.dumps(ours.state())), dict(ours.memory())
        data, rollouts = _feed(ours, update, reward)
        given = copy.deepcopy((data, rollouts))
        _reseed(update)
        _check_metrics(ours.update(data, rollouts))
        need(same((data, rollouts), given), "update changes the data or the rollouts")
        resumed = build()
        _restore(resumed, *saved)
        _reseed(update)
        resumed.update(*given)
        after, again = _snapshot(ours), _snapshot(resumed)
        differs = [name for name in after if not same(after[name], again[name])]
        differs += [] if ours.state() == resumed.state() else ["state()"]
        differs += [] if same(ours.memory(), resumed.memory()) else ["memory()"]
        need(not differs, f"resumed before update {update}, not as without: {', '.join(differs)}")
    pure = [_demand(ours, update) for update in range(_UPDATES)] == demands
    need(pure, "demand is not a pure function of the update's number")
    moved = not same(first["module policy"], _snapshot(ours)["module policy"])
    need(moved, f"after {_UPDATES} updates the policy has not changed")
    for name, tensor in _unsaved(ours):
        kept = name not in unsaved or same(tensor, unsaved[name])
        need(kept, f"{name} changes and is not part of modules()")
    saved_ids = {id(tensor) for module in ours.modules().values() for tensor in _tensors(module)}
    for name, optimizer in ours.optimizers().items():
        held = [item for group in optimizer.param_groups for item in group["params"]]
        covered = all(id(item) in saved_ids for item in held)
        need(covered, f"optimizer {name} trains what is not part of modules()")


def _reseed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _demand(learner: Learner, update: int) -> Demand:
    demand = learner.demand(update)
    need(demand == learner.demand(update), "demand is not a pure function of the update's number")
    said = learner.uses_rollouts or demand.rollouts == 0
    need(said, "demand asks for rollouts and uses_rollouts is False")
    return demand


def _feed(
    learner: Learner, update: int, reward: Callable[[Trajectories], Tensor] | None
) -> tuple[Trajectories, Trajectories | None]:
    """What the loop would hand over."""
    space = learner.policy.space
    plain = replace(space, max_actions=None, backspace=False, forbid_redo=False)
    typed = random_logs(plain, _BATCH, update)
    data = replace(
        typed,
        log_probs_BT=torch.zeros_like(typed.log_probs_BT),
        policy_version_B=torch.full_like(typed.policy_version_B, -1),
    )
    demand = learner.demand(update)
    if demand.noise.rate and space.backspace:
        chances, which = torch.rand(2, *data.actions_BT.shape)
        data = inject(space, data, demand.noise, chances, (which * space.num_tokens).long())
    if not demand.rollouts:
        return data, None
    prefixes = None
    if demand.prefix:
        lengths = (data.num_actions_B - 1).clamp(max=demand.prefix)
        rows = torch.arange(_BATCH).repeat_interleave(demand.rollouts // _BATCH)
        prefixes = Sequences(data.actions_BT, lengths)[rows]
    rollouts = random_logs(space, demand.rollouts, update, policy=learner.policy, prefixes=prefixes)
    rollouts = replace(rollouts, policy_version_B=torch.full_like(rollouts.num_actions_B, update))
    return data, _paid(learner, rollouts, reward, demand)


def _paid(
    learner: Learner,
    rollouts: Trajectories,
    reward: Callable[[Trajectories], Tensor] | None,
    demand: Demand,
) -> Trajectories:
    """With what the learner's own judge gives, or the reward it is checked with."""
    judge = learner.judge()
    if judge is not None:
        held: Any = build_reward(judge.name, judge.options, learner.policy.space, None)
        held.load_state_dict(learner.published()["reward"].state_dict())
        reward = held.eval()
    if reward is None or not demand.paid:
        return rollouts
    with torch.no_grad():
        paid = per_action(reward(rollouts), rollouts)
    mask = rollouts.mask_BT
    rollouts = replace(rollouts, rewards_BT=paid)
    if not demand.completions:
        return rollouts
    # What completions would give, if nothing but the sequence itself could follow, and noise.
    values = paid.flip(1).cumsum(1).flip(1) + 0.1 * torch.rand(mask.shape)
    return replace(
        rollouts,
        action_values_BT=torch.where(mask, values, 0.0),
        value_errors_BT=torch.where(mask, 0.1, 0.0),
    )


def _check_metrics(metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        plain = isinstance(value, float | int) and not isinstance(value, bool)
        need(plain, f"metric {name} is a {type(value).__name__}, not a float")
        need(math.isfinite(value), f"metric {name} is not finite: {value}")


def _snapshot(learner: Learner) -> _Snapshot:
    held: dict[str, Any] = {f"module {name}": item for name, item in learner.modules().items()}
    held |= {f"optimizer {name}": item for name, item in learner.optimizers().items()}
    return {name: copy.deepcopy(item.state_dict()) for name, item in held.items()}


def _restore(
    learner: Learner,
    snapshot: _Snapshot,
    state: Mapping[str, Any],
    memory: Mapping[str, Trajectories],
) -> None:
    for name, module in learner.modules().items():
        module.load_state_dict(snapshot[f"module {name}"])
    for name, optimizer in learner.optimizers().items():
        optimizer.load_state_dict(copy.deepcopy(snapshot[f"optimizer {name}"]))
    learner.load_state(state)
    learner.load_memory(memory)


def _unsaved(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    """Tensors of the modules a learner holds that no checkpoint has, by name."""
    saved = {id(tensor) for module in learner.modules().values() for tensor in _tensors(module)}
    for key, value in vars(learner).items():
        items = value.values() if isinstance(value, dict) else value
        for item in items if isinstance(value, dict | list | tuple) else [value]:
            if isinstance(item, nn.Module):
                for name, tensor in (*item.named_parameters(), *item.named_buffers()):
                    if id(tensor) not in saved:
                        yield f"{key}.{name}", tensor.detach()


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
