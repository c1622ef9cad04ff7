"""Does a policy keep its contract?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from rubout.checks.common import close, need, row_of
from rubout.checks.logs import random_logs
from rubout.checks.sums import check_sums
from rubout.keys import Keys, TapeState, blank, press
from rubout.policy import Generation, Policy
from rubout.types import Sequences, Trajectories

_Typing = tuple[Generation, TapeState]


def check_policy(policy: Policy, seed: int = 0) -> None:
    """Whether a policy types as it scores, for logs with and without prompts and backspaces.

    And whether what it types can be branched off and put together (`Generation.take`, `.join`),
    and its weighted sums are those of its scores.

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
            _check_labels(policy, logs)
            _check_gradients(policy, logs)
            check_sums(policy, logs)
            _check_some_logits(policy, logs)
            _check_taking(policy, logs, typed)
            _check_joining(policy, logs, typed)
        _check_rubbing_out(policy)
    finally:
        policy.train(training)


def _typed(policy: Policy, logs: Trajectories) -> tuple[Tensor, Tensor, list[TapeState]]:
    """log pi [B, S, A] and V [B, S] of every state as generation has them, and the tapes."""
    space = policy.space
    state = blank(space, len(logs), logs.prompts, "cpu")
    typing = policy.start(len(logs), logs.prompts)
    logits, states = [], []
    for step in range(logs.actions_BT.shape[1] + 1):
        mask = space.mask(state.legality(space))
        logits.append(typing.logits().detach().masked_fill(~mask, -torch.inf))
        states.append(state)
        if step < logs.actions_BT.shape[1]:
            state = _press(policy, typing, state, logs, step)
    logits_BSA = torch.stack(logits, dim=1)
    return logits_BSA.log_softmax(2), logits_BSA.logsumexp(2), states


def _press(
    policy: Policy, typing: Generation, state: TapeState, logs: Trajectories, step: int
) -> TapeState:
    """One action of the logs."""
    actions_B, active_B = logs.actions_BT[:, step], step < logs.num_actions_B
    state, keys = press(policy.space, state, actions_B, active_B)
    typing.step(actions_B, keys)
    return state


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
    need(shapes == expected, f"the shapes of score are {shapes}, not {expected}")
    unasked = policy.score(logs, {"log_probs"})
    nothing = unasked.values_BS is None and unasked.log_softmax_BTA is None
    need(nothing, "score gives what was not asked for")
    states = torch.arange(width + 1) <= logs.num_actions_B.unsqueeze(1)
    need(bool(values.isfinite().all()), "values are not finite")
    padding = (log_probs[~mask], values[~states], rows[~mask])
    need(not any(bool(part.any()) for part in padding), "scores are not 0 on padding")
    typed_MA, rows_MA = typed_BSA[:, :width][mask], rows[mask]
    legal = rows_MA.isfinite().equal(typed_MA.isfinite())
    need(legal, "log_softmax is not finite on exactly the legal actions")
    total = rows_MA.logsumexp(1)
    need(close(total, torch.zeros_like(total)), "log_softmax does not sum to 1")
    chosen = rows_MA.gather(1, logs.actions_BT[mask].unsqueeze(1)).squeeze(1)
    need(close(log_probs[mask], chosen), "log_probs are not those of log_softmax")
    need(close(rows_MA, typed_MA), "scoring differs from generation")
    # After <eos> nothing is generated, and on a full tape that knows none nothing is legal.
    counts = logs.num_actions_B + ~logs.terminated_B
    states = torch.arange(width + 1) < counts.unsqueeze(1)
    need(close(values[states], values_BS[states]), "values are not the logsumexp of the logits")
    halved = policy.score(logs, {"log_softmax"}, temperature=2.0).log_softmax_BTA
    divided = halved is not None and close(halved[mask], (typed_MA / 2).log_softmax(1))
    need(divided, "a temperature does not divide the logits")


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
    need(close(last, expected_MA), "what was rubbed out leaves a trace in the scores")


def _check_alone(policy: Policy, logs: Trajectories) -> None:
    together = policy.score(logs, {"log_probs"}).log_probs_BT
    for row in range(len(logs)):
        alone = policy.score(row_of(logs, row), {"log_probs"}).log_probs_BT
        assert together is not None
        assert alone is not None
        same = close(alone[0], together[row, : alone.shape[1]])
        need(same, "the score of a log depends on its batch-mates")


def _check_labels(policy: Policy, logs: Trajectories) -> None:
    """Where an action was a slip, what counts is the probability of what was meant."""
    rows = policy.score(logs, {"log_softmax"}).log_softmax_BTA
    assert rows is not None
    meant = replace(logs, intended_BT=torch.where(logs.mask_BT, rows.argmax(2), 0))
    best = policy.score(meant, {"log_probs"}).log_probs_BT
    right = best is not None and close(best[logs.mask_BT], rows[logs.mask_BT].amax(1))
    need(right, "log_probs are not those of what was meant (Trajectories.labels_BT)")


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
    need(bool(held), "the scores have no gradient in the policy's parameters")
    finite = all(bool(gradient.isfinite().all()) for gradient in held)
    need(finite, "a gradient of the scores is not finite")


def _check_some_logits(policy: Policy, logs: Trajectories) -> None:
    typing, _ = _until(policy, logs, logs.actions_BT.shape[1] // 2)
    rows = torch.arange(len(logs)).repeat_interleave(2).flip(0)
    before = typing.logits().detach().clone()
    same = close(typing.logits(rows).detach(), before[rows])
    need(same, "the logits of some rows are not those of all rows")
    scaled = [part.detach().clone() for part in typing.scaled_logits(rows, 5, -0.5)]
    same = close(torch.cat(scaled), -0.5 * before[rows])
    need(same, "the scaled logits are not the logits times the number")
    need({len(part) for part in scaled[:-1]} == {5}, "not so many scaled logits as were asked for")
    with torch.no_grad():
        for logits in (typing.logits(), typing.logits(rows), *typing.scaled_logits(rows, 5, 1.0)):
            logits.fill_(torch.nan)  # as a sampler masks them, in place
    need(close(typing.logits().detach(), before), "the logits are not the caller's own")


def _check_taking(policy: Policy, logs: Trajectories, typed_BSA: Tensor) -> None:
    """While one of the two types what it should, the other one types other things."""
    everyone = torch.arange(len(logs))
    for step in {0, logs.actions_BT.shape[1] // 2}:
        rest = _from(logs, step)
        for rows in (everyone, everyone.repeat_interleave(2).flip(0)):
            typing, state = _until(policy, logs, step)
            taken, other = (
                (typing.take(rows), state[rows]),
                ((typing, state), _others(policy, rest)),
            )
            goes_on = _goes_on(policy, taken, rest[rows], typed_BSA[rows, step:], other)
            need(goes_on, "what was taken does not go on as the rows it was taken from")
            typing, state = _until(policy, logs, step)
            other = (typing.take(rows), state[rows]), _others(policy, rest[rows])
            goes_on = _goes_on(policy, (typing, state), rest, typed_BSA[:, step:], other)
            need(goes_on, "a generation does not go on by itself where rows of it were taken")


def _check_joining(policy: Policy, logs: Trajectories, typed_BSA: Tensor) -> None:
    """Several at different places go on together as each by itself."""
    width, everyone = logs.actions_BT.shape[1], torch.arange(len(logs))
    parts, states, rest, typed = [], [], [], []
    for step, rows in (
        (width // 2, everyone),
        (0, everyone[:2]),
        (max(0, width - 2), everyone[1:].flip(0)),
    ):
        typing, state = _until(policy, logs, step)
        parts.append(typing.take(rows))
        states.append(state[rows])
        rest.append(_from(logs, step)[rows])
        typed.append(functional.pad(typed_BSA[rows, step:], (0, 0, 0, step)))
    joined = (parts[0].join(parts[1:]), TapeState.cat(states))
    goes_on = _goes_on(policy, joined, Trajectories.cat(rest), torch.cat(typed))
    need(goes_on, "joined generations do not go on as each by itself")


def _until(policy: Policy, logs: Trajectories, count: int) -> _Typing:
    """The first actions typed."""
    state = blank(policy.space, len(logs), logs.prompts, "cpu")
    typing = policy.start(len(logs), logs.prompts)
    for step in range(count):
        state = _press(policy, typing, state, logs, step)
    return typing, state


def _from(logs: Trajectories, step: int) -> Trajectories:
    """The actions still to come."""
    return replace(
        logs,
        actions_BT=logs.actions_BT[:, step:],
        log_probs_BT=logs.log_probs_BT[:, step:],
        num_actions_B=(logs.num_actions_B - step).clamp(min=0),
    )


def _others(policy: Policy, rest: Trajectories) -> Trajectories:
    """Another token at each action."""
    others_BT = (rest.actions_BT + 1) % policy.space.num_tokens
    return replace(rest, actions_BT=others_BT)


def _goes_on(
    policy: Policy,
    typing: _Typing,
    rest: Trajectories,
    typed_BSA: Tensor,
    beside: tuple[_Typing, Trajectories] | None = None,
) -> bool:
    """Whether the log-probabilities before each action still to come are these.

    Args:
        policy: of the generations.
        typing: where it stands.
        rest: what it types.
        typed_BSA: what is expected before each of these actions.
        beside: another one that types each of its actions after one of these.
    """
    space, (generation, state) = policy.space, typing
    for step, going_B in enumerate(rest.mask_BT.T):
        mask = space.mask(state.legality(space))
        found_BA = generation.logits().detach().masked_fill(~mask, -torch.inf).log_softmax(1)
        if not close(found_BA[going_B], typed_BSA[going_B, step]):
            return False
        state = _press(policy, generation, state, rest, step)
        if beside is not None:
            (other, other_state), others = beside
            beside = (other, _press(policy, other, other_state, others, step)), others
    return True


def _check_rubbing_out(policy: Policy) -> None:
    """To rub out and to type the same again comes back to the same logits, bit for bit."""
    if not policy.space.backspace:
        return
    tokens = torch.arange(4) % policy.space.num_tokens
    yes, no = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)
    typing = policy.start(4)
    seen = [typing.logits()]
    for backspace in (False, True, False):
        keys = Keys(no, yes, no) if backspace else Keys(yes, no, no)
        typing.step(torch.full((4,), policy.space.backspace_id) if backspace else tokens, keys)
        seen.append(typing.logits())
    same = seen[0].equal(seen[2]) and seen[1].equal(seen[3])
    need(same, "after rubbing out, or typing the same again, the logits are not the same bits")
