"""Twins of Gymnasium's check_env: does a policy, task, reward or learner keep its contract?

Run them on your own plug-in, in a test of one line: `check_policy(MyPolicy(space, config))`. Each
raises AssertionError with one sentence that says what does not hold.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rubout import plugins
from rubout.learner import Alone, Context, Demand, Learner
from rubout.policy import Policy
from rubout.tape import Keys, TapeState, blank, is_over, press
from rubout.task import Codec, Split, Task
from rubout.types import ActionSpace, Sequences, Trajectories

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_MOST_ACTIONS = 24  # of a log typed at random
_TOLERANCE = 1e-5
_BATCH, _UPDATES = 8, 4  # of a learner's check
_Snapshot = dict[str, dict[str, Any]]


def random_logs(
    space: ActionSpace,
    count: int,
    seed: int,
    *,
    with_prompts: bool = False,
    policy: Policy | None = None,
) -> Trajectories:
    """Action logs of legal actions drawn at random.

    Args:
        space: what may be typed; logs are cut off after 24 actions at the latest.
        count: B.
        seed: of the draws.
        with_prompts: begin with prompts of 0 to L - 1 tokens.
        policy: draws from its distribution; None: tokens alike, a third as many backspaces.
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
        logits = _plain_logits(space, count) if typing is None else typing.logits_BA.detach().cpu()
        legal = space.mask(state.legality(space)) | over.unsqueeze(1)
        log_softmax = logits.masked_fill(~legal, -torch.inf).log_softmax(1)
        chosen = torch.multinomial(log_softmax.exp(), 1, generator=generator)
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


def check_policy(policy: Policy, seed: int = 0) -> None:
    """Whether a policy types as it scores, for logs with and without prompts and backspaces.

    Args:
        policy: on the CPU; left as it was.
        seed: of the logs.
    """
    training = policy.training
    policy.eval()
    try:
        space = policy.space
        for with_prompts in (False, True) if space.max_length > 1 else (False,):
            logs = random_logs(space, 6, seed, with_prompts=with_prompts)
            typed, values, states = _typed(policy, logs)
            _check_scores(policy, logs, typed, values)
            _check_each_state(policy, logs, typed, states)
            _check_alone(policy, logs)
            _check_gradients(policy, logs)
        _check_rubbing_out(policy)
    finally:
        policy.train(training)


def check_reward(
    reward: Callable[[Trajectories], Tensor], space: ActionSpace, seed: int = 0
) -> None:
    """Whether a reward is a deterministic function of each trajectory by itself.

    Args:
        reward: a `Reward`, or any function like one.
        space: of the trajectories it is given.
        seed: of the trajectories.
    """
    for with_prompts in (False, True) if space.max_length > 1 else (False,):
        logs = random_logs(space, 8, seed, with_prompts=with_prompts)
        given = copy.deepcopy(logs)
        value = reward(logs).detach()
        _need(
            value.shape in (logs.mask_BT.shape, logs.mask_BT.shape[:1]),
            f"the reward's shape is {tuple(value.shape)}, neither [B] nor [B, T]",
        )
        _need(value.dtype == torch.float32, f"the reward is {value.dtype}, not float32")
        _need(bool(value.isfinite().all()), "the reward is not finite")
        if value.ndim == 2:
            _need(not bool(value[~logs.mask_BT].any()), "the reward is not 0 on padding")
        _need(value.equal(reward(logs).detach()), "the reward of the same trajectories differs")
        _need(_same(logs, given), "the reward changes the trajectories it is given")
        for row in range(len(logs)):
            alone = reward(_row(logs, row)).detach()[0]
            held = value[row] if value.ndim == 1 else value[row, : len(alone)]
            _need(_close(alone, held), "the reward of a row depends on its batch-mates")


def check_task(task: Task) -> None:
    """Whether a task's splits, codec and oracle keep the contract."""
    space = task.space
    _need(not space.backspace, "a task's space has no backspace: that is the run's choice")
    for name in _SPLITS:
        split = task.split(name)
        _need(len(split) > 0, f"the {name} split is empty")
        _need(_same(split, task.split(name)), f"the {name} split is not the same when asked again")
        _check_split(space, name, split)
        _check_codec(task.codec, space, split[:200])
        oracle = task.oracle()
        if oracle is not None:
            log_probs = oracle.score(split[:64], {"log_probs"}).log_probs_BT
            finite = log_probs is not None and bool(log_probs.isfinite().all())
            _need(finite, f"the oracle's log-probabilities of the {name} split are not finite")
    codec = task.codec
    try:
        text = json.dumps(codec.to_json())
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the codec's to_json is not JSON: {error}") from None
    _need(json.loads(text) == codec.to_json(), "the codec's to_json does not survive JSON")
    _need(codec.fingerprint == codec.fingerprint, "the codec's fingerprint is not stable")
    unknown = codec.unknown_id
    _need(unknown is None or 0 <= unknown < space.num_tokens, "unknown_id is not a token")


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
    _need(is_dataclass(cls.Config), f"{cls.__name__}.Config is not a dataclass")
    space = space or ActionSpace(5, 6)

    def build() -> Learner:
        _reseed(0)
        context = Context(space, _BATCH, torch.device("cpu"), Alone())
        built: Learner = cls(
            make_policy(space), cls.Config() if config is None else config, context
        )
        return built

    ours = build()
    _need(ours.modules().get("policy") is ours.policy, 'modules() lacks the policy as "policy"')
    demands = [_demand(ours, update) for update in range(_UPDATES)]
    unsaved = {name: tensor.clone() for name, tensor in _unsaved(ours)}
    first = _snapshot(ours)
    for update in range(_UPDATES):
        saved = _snapshot(ours), json.loads(json.dumps(ours.state()))
        data, rollouts = _feed(ours, update, reward)
        given = copy.deepcopy((data, rollouts))
        _reseed(update)
        _check_metrics(ours.update(data, rollouts))
        _need(_same((data, rollouts), given), "update changes the data or the rollouts")
        resumed = build()
        _restore(resumed, *saved)
        _reseed(update)
        resumed.update(*given)
        after, again = _snapshot(ours), _snapshot(resumed)
        differs = [name for name in after if not _same(after[name], again[name])]
        differs += [] if ours.state() == resumed.state() else ["state()"]
        _need(not differs, f"resumed before update {update}, not as without: {', '.join(differs)}")
    pure = [_demand(ours, update) for update in range(_UPDATES)] == demands
    _need(pure, "demand is not a pure function of the update's number")
    moved = not _same(first["module policy"], _snapshot(ours)["module policy"])
    _need(moved, f"after {_UPDATES} updates the policy has not changed")
    for name, tensor in _unsaved(ours):
        kept = name not in unsaved or _same(tensor, unsaved[name])
        _need(kept, f"{name} changes and is not part of modules()")
    saved_ids = {id(tensor) for module in ours.modules().values() for tensor in _tensors(module)}
    for name, optimizer in ours.optimizers().items():
        held = [item for group in optimizer.param_groups for item in group["params"]]
        covered = all(id(item) in saved_ids for item in held)
        _need(covered, f"optimizer {name} trains what is not part of modules()")


def _need(holds: bool, message: str) -> None:
    """Unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(message)


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)


def _same(one: Any, other: Any) -> bool:
    """Bit for bit, through dataclasses, mappings and sequences."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and one.equal(other)
    if is_dataclass(one):
        return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _row(logs: Trajectories, row: int) -> Trajectories:
    """One of them, trimmed to its own length."""
    alone = logs[row : row + 1]
    width = int(alone.num_actions_B)
    return replace(
        alone,
        actions_BT=alone.actions_BT[:, :width],
        log_probs_BT=alone.log_probs_BT[:, :width],
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


def _typed(policy: Policy, logs: Trajectories) -> tuple[Tensor, Tensor, list[TapeState]]:
    """log pi [B, S, A] and V [B, S] of every state as generation has them, and the tapes."""
    space = policy.space
    state = blank(space, len(logs), logs.prompts, "cpu")
    typing = policy.start(len(logs), logs.prompts)
    logits, states = [], []
    for step in range(logs.actions_BT.shape[1] + 1):
        mask = space.mask(state.legality(space))
        logits.append(typing.logits_BA.detach().masked_fill(~mask, -torch.inf))
        states.append(state)
        if step < logs.actions_BT.shape[1]:
            actions = logs.actions_BT[:, step]
            state, keys = press(space, state, actions, step < logs.num_actions_B)
            typing.step(actions, keys)
    logits_BSA = torch.stack(logits, dim=1)
    return logits_BSA.log_softmax(2), logits_BSA.logsumexp(2), states


def _check_scores(policy: Policy, logs: Trajectories, typed_BSA: Tensor, values_BS: Tensor) -> None:
    """What `score` gives, against what generation had."""
    mask, width = logs.mask_BT, logs.actions_BT.shape[1]
    scores = policy.score(logs, {"log_probs", "values", "log_softmax"})
    log_probs, values, rows = scores.log_probs_BT, scores.values_BS, scores.log_softmax_BTA
    if log_probs is None or values is None or rows is None:
        raise AssertionError("score does not give all that was asked for")
    shapes = [tuple(part.shape) for part in (log_probs, values, rows)]
    batch, size = len(logs), policy.space.size
    expected = [(batch, width), (batch, width + 1), (batch, width, size)]
    _need(shapes == expected, f"the shapes of score are {shapes}, not {expected}")
    unasked = policy.score(logs, {"log_probs"})
    nothing = unasked.values_BS is None and unasked.log_softmax_BTA is None
    _need(nothing, "score gives what was not asked for")
    states = torch.arange(width + 1) <= logs.num_actions_B.unsqueeze(1)
    _need(bool(values.isfinite().all()), "values are not finite")
    padding = (log_probs[~mask], values[~states], rows[~mask])
    _need(not any(bool(part.any()) for part in padding), "scores are not 0 on padding")
    typed_MA, rows_MA = typed_BSA[:, :width][mask], rows[mask]
    legal = rows_MA.isfinite().equal(typed_MA.isfinite())
    _need(legal, "log_softmax is not finite on exactly the legal actions")
    total = rows_MA.logsumexp(1)
    _need(_close(total, torch.zeros_like(total)), "log_softmax does not sum to 1")
    chosen = rows_MA.gather(1, logs.actions_BT[mask].unsqueeze(1)).squeeze(1)
    _need(_close(log_probs[mask], chosen), "log_probs are not those of log_softmax")
    _need(_close(rows_MA, typed_MA), "scoring differs from generation")
    # Nothing is legal on a tape that is full and knows no <eos>: V means nothing there.
    counts = logs.num_actions_B + (policy.space.eos | ~logs.terminated_B)
    states = torch.arange(width + 1) < counts.unsqueeze(1)
    _need(_close(values[states], values_BS[states]), "values are not the logsumexp of the logits")
    halved = policy.score(logs, {"log_softmax"}, temperature=2.0).log_softmax_BTA
    divided = halved is not None and _close(halved[mask], (typed_MA / 2).log_softmax(1))
    _need(divided, "a temperature does not divide the logits")


def _check_each_state(
    policy: Policy, logs: Trajectories, typed_BSA: Tensor, states: list[TapeState]
) -> None:
    """One forward a state: type what survives there and then the action, nothing rubbed out."""
    prompts, texts, expected = [], [], []
    for row, step in logs.mask_BT.nonzero().tolist():
        first, end = int(states[step].prompt_length_B[row]), int(states[step].length_B[row])
        tape = states[step].tokens_BL[row, :end].tolist()
        prompts.append(tape[:first])
        texts.append([*tape[first:], int(logs.actions_BT[row, step])])
        expected.append(typed_BSA[row, step])
    actions = Sequences.of(texts)
    plain = Trajectories(
        actions_BT=actions.tokens_BL,
        log_probs_BT=torch.zeros(actions.tokens_BL.shape),
        num_actions_B=actions.lengths_B,
        terminated_B=torch.zeros(len(actions), dtype=torch.bool),
        policy_version_B=torch.zeros(len(actions), dtype=torch.int64),
        prompts=None if logs.prompts is None else Sequences.of(prompts),
    )
    rows = policy.score(plain, {"log_softmax"}).log_softmax_BTA
    assert rows is not None
    last = rows[torch.arange(len(actions)), actions.lengths_B - 1]
    expected_MA = torch.stack(expected)  # legal actions may be fewer after rubbing out
    last = last.masked_fill(expected_MA.isinf(), -torch.inf).log_softmax(1)
    _need(_close(last, expected_MA), "what was rubbed out leaves a trace in the scores")


def _check_alone(policy: Policy, logs: Trajectories) -> None:
    together = policy.score(logs, {"log_probs"}).log_probs_BT
    for row in range(len(logs)):
        alone = policy.score(_row(logs, row), {"log_probs"}).log_probs_BT
        assert together is not None
        assert alone is not None
        same = _close(alone[0], together[row, : alone.shape[1]])
        _need(same, "the score of a log depends on its batch-mates")


def _check_gradients(policy: Policy, logs: Trajectories) -> None:
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    if not parameters:
        return
    scores = policy.score(logs, {"log_probs", "values"})
    assert scores.log_probs_BT is not None
    assert scores.values_BS is not None
    total = scores.log_probs_BT.sum() + scores.values_BS.square().sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    held = [gradient for gradient in gradients if gradient is not None]
    _need(bool(held), "the scores have no gradient in the policy's parameters")
    finite = all(bool(gradient.isfinite().all()) for gradient in held)
    _need(finite, "a gradient of the scores is not finite")


def _check_rubbing_out(policy: Policy) -> None:
    """To rub out and to type the same again comes back to the same logits, bit for bit."""
    if not policy.space.backspace:
        return
    tokens = torch.arange(4) % policy.space.num_tokens
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    typing = policy.start(4)
    seen = [typing.logits_BA.clone()]
    for backspace in (False, True, False):
        keys = Keys(no, yes, no) if backspace else Keys(yes, no, no)
        typing.step(torch.full((4,), policy.space.backspace_id) if backspace else tokens, keys)
        seen.append(typing.logits_BA.clone())
    same = seen[0].equal(seen[2]) and seen[1].equal(seen[3])
    _need(same, "after rubbing out, or typing the same again, the logits are not the same bits")


def _check_split(space: ActionSpace, name: Split, split: Trajectories) -> None:
    """An expert's logs: tokens, then `<eos>` where there is one, and they fit."""
    actions, mask, counts = split.actions_BT, split.mask_BT, split.num_actions_B
    _need(actions.dtype == counts.dtype == torch.int64, f"the {name} split is not int64")
    fits = bool(((counts >= 1) & (counts <= actions.shape[1])).all())
    _need(fits, f"a sequence of the {name} split has no actions or more than there are columns")
    _need(bool(split.terminated_B.all()), f"a sequence of the {name} split is not terminated")
    _need(bool((split.policy_version_B == -1).all()), f"the {name} split is not by an expert (-1)")
    _need(not bool(actions[~mask].any()), f"the {name} split is not 0 on padding")
    lengths = counts - int(space.eos)
    text = mask & (torch.arange(actions.shape[1]) < lengths.unsqueeze(1))
    in_range = (actions >= 0) & (actions < space.num_tokens)
    if split.prompts is not None:
        prompts = split.prompts
        lengths = lengths + prompts.lengths_B
        tokens = prompts.tokens_BL[prompts.mask_BL]
        valid = bool(((tokens >= 0) & (tokens < space.num_tokens)).all())
        _need(valid, f"a prompt of the {name} split holds ids that are not tokens")
    _need(bool(in_range[text].all()), f"the {name} split holds ids that are not tokens")
    _need(bool((lengths <= space.max_length).all()), f"the {name} split does not fit max_length")
    if space.eos:
        ended = bool((actions[mask & ~text] == space.eos_id).all())
        _need(ended, f"a sequence of the {name} split does not end by <eos>")
    else:
        full = bool((lengths == space.max_length).all())
        _need(full, f"a sequence of the {name} split neither ends by <eos> nor fills the tape")


def _check_codec(codec: Codec, space: ActionSpace, split: Trajectories) -> None:
    lengths = split.num_actions_B - int(space.eos)
    rows = Sequences(split.actions_BT, lengths).lists()
    rows += [] if split.prompts is None else split.prompts.lists()
    for row in rows:
        text = codec.decode(row)
        _need(isinstance(text, str), "the codec's decode does not give a text")
        if codec.unknown_id not in row:
            _need(codec.encode(text) == row, f"encode(decode(x)) is not x for {row}")


def _reseed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _demand(learner: Learner, update: int) -> Demand:
    demand = learner.demand(update)
    _need(demand == learner.demand(update), "demand is not a pure function of the update's number")
    said = learner.uses_rollouts or demand.rollouts == 0
    _need(said, "demand asks for rollouts and uses_rollouts is False")
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
    count = learner.demand(update).rollouts
    if not count:
        return data, None
    rollouts = random_logs(space, count, update, policy=learner.policy)
    rollouts = replace(rollouts, policy_version_B=torch.full_like(rollouts.num_actions_B, update))
    if reward is not None:
        paid = reward(rollouts).detach()
        if paid.ndim == 1:
            last = (rollouts.num_actions_B - 1).unsqueeze(1)
            paid = torch.zeros_like(rollouts.log_probs_BT).scatter(1, last, paid.unsqueeze(1))
        rollouts = replace(rollouts, rewards_BT=paid)
    return data, rollouts


def _check_metrics(metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        plain = isinstance(value, float | int) and not isinstance(value, bool)
        _need(plain, f"metric {name} is a {type(value).__name__}, not a float")
        _need(math.isfinite(value), f"metric {name} is not finite: {value}")


def _snapshot(learner: Learner) -> _Snapshot:
    held: dict[str, Any] = {f"module {name}": item for name, item in learner.modules().items()}
    held |= {f"optimizer {name}": item for name, item in learner.optimizers().items()}
    return {name: copy.deepcopy(item.state_dict()) for name, item in held.items()}


def _restore(learner: Learner, snapshot: _Snapshot, state: Mapping[str, Any]) -> None:
    for name, module in learner.modules().items():
        module.load_state_dict(snapshot[f"module {name}"])
    for name, optimizer in learner.optimizers().items():
        optimizer.load_state_dict(copy.deepcopy(snapshot[f"optimizer {name}"]))
    learner.load_state(state)


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
