"""Whole action logs on the tape: what is left of them, and what every state sees.

States are a pure function of the action log, so only actions are ever stored or sent. The
vectorised env presses keys one at a time (`rubout.keys.press`), policies and losses replay whole
logs (`replay`); both rest on the same transition.

A log is laid out as a tree of nodes: node 0 is the start, one node for every token of the prompt
and for every token typed. A node's parent is the token it was typed after; a backspace returns to
the parent, makes no node and so costs nothing. The state before action t is a node; what that
state sees is the path from the start to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from rubout.keys import blank, press
from rubout.types import ActionSpace, Legality, Sequences, Trajectories


@dataclass(frozen=True, slots=True)
class Tape:
    """B action logs, replayed.

    Attributes:
        tokens_BN: int64, the token each node holds; the space's start id at node 0, 0 on padding.
        parents_BN: int64, the node each was typed after; 0 for the start and on padding.
        depths_BN: int64, tokens on the path above, that is the node's position; 0 on padding.
        states_BS: int64, the node on which the state before action t stands; state T is the
            end, repeated on padding.
        legality_BS: what each state allows.
        path_BD: int64 [B, L + 1], the nodes of the final path by depth; only the first
            `depth of the final state` + 1 are meant.
        linear: nothing was rubbed out, so every node's parent is the node before it.
    """

    tokens_BN: Tensor
    parents_BN: Tensor
    depths_BN: Tensor
    states_BS: Tensor
    legality_BS: Legality
    path_BD: Tensor
    linear: bool


def replay(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """Lay action logs out as trees: nodes, parents, depths, and the node of every state.

    Args:
        space: what the actions mean.
        trajectories: B logs of up to T actions each, with prompts of up to P tokens.

    Returns:
        the tape, N <= 1 + P + T nodes wide.
    """
    tape = _replay_legal(space, trajectories)
    return _replay_keys(space, trajectories) if tape is None else tape


def with_ends(space: ActionSpace, trajectories: Trajectories, tape: Tape) -> Tape:
    """The same tape with one more node in every row that `<eos>` ended: the absorbing state.

    There a single action is legal, `<eos>`, so that V is its logit: the terminal value of
    SequenceMatch. The node reads the start symbol, as one that stands between texts.

    Args:
        space: what the actions mean.
        trajectories: of B logs.
        tape: their replay.
    """
    steps = torch.arange(trajectories.actions_BT.shape[1], device=tape.states_BS.device)
    is_last_BT = steps == trajectories.num_actions_B.unsqueeze(1) - 1
    ended_B = (is_last_BT & (trajectories.actions_BT == space.eos_id) & space.eos).any(1)
    if not bool(ended_B.any()):
        return tape
    end_B1 = tape.states_BS[:, -1:]
    depth_B1 = tape.depths_BN.gather(1, end_B1) + 1
    node_B1 = (tape.depths_BN > 0).sum(1, keepdim=True) + 1  # the first that is padding
    spare = tape.tokens_BN.shape[1] + 1  # where rows that did not end write
    place_B1 = torch.where(ended_B.unsqueeze(1), node_B1, spare)

    def put(nodes_BN: Tensor, value_B1: Tensor) -> Tensor:
        wider = functional.pad(nodes_BN, (0, 2))
        return wider.scatter(1, place_B1, value_B1)[:, :-1]

    steps = torch.arange(tape.states_BS.shape[1], device=place_B1.device)
    over_BS = ended_B.unsqueeze(1) & (steps >= trajectories.num_actions_B.unsqueeze(1))
    return replace(
        tape,
        tokens_BN=put(tape.tokens_BN, torch.full_like(end_B1, space.start_id)),
        parents_BN=put(tape.parents_BN, end_B1),
        depths_BN=put(tape.depths_BN, depth_B1),
        states_BS=torch.where(over_BS, node_B1, tape.states_BS),
        legality_BS=Legality(
            tape.legality_BS.token & ~over_BS,
            tape.legality_BS.backspace & ~over_BS,
            tape.legality_BS.forbidden.masked_fill(over_BS, -1),
        ),
    )


def survivors(space: ActionSpace, trajectories: Trajectories) -> Sequences:
    """What was left on the tape at the end, prompt included.

    Returns:
        sequences padded to the space's max_length.
    """
    tape = replay(space, trajectories)
    tokens_BD = tape.tokens_BN.gather(1, tape.path_BD)[:, 1:]
    lengths_B = tape.depths_BN.gather(1, tape.states_BS[:, -1:]).squeeze(1)
    sequences = Sequences(tokens_BD, lengths_B)
    return replace(sequences, tokens_BL=tokens_BD.masked_fill(~sequences.mask_BL, 0))


def written(
    space: ActionSpace, continuations: Sequences, prompts: Sequences | None = None
) -> Trajectories:
    """Finished text as an expert types it: token by token, then `<eos>` where there is one.

    Args:
        space: the action space of the task.
        continuations: what follows the prompts; full tapes where the space has no `<eos>`.
        prompts: what stands on the tape beforehand, or None.
    """
    mask = continuations.mask_BL
    actions = torch.where(mask, continuations.tokens_BL, 0)
    lengths = continuations.lengths_B
    if space.eos:
        actions = torch.cat([actions, torch.zeros_like(lengths).unsqueeze(1)], dim=1)
        actions = actions.scatter(1, lengths.unsqueeze(1), space.eos_id)
        lengths = lengths + 1
    return Trajectories(
        actions_BT=actions[:, : int(lengths.max())],
        log_probs_BT=torch.zeros(actions.shape[0], int(lengths.max()), device=actions.device),
        num_actions_B=lengths,
        terminated_B=torch.ones_like(lengths, dtype=torch.bool),
        policy_version_B=torch.full_like(lengths, -1),
        prompts=prompts,
    )


def visibility(tape: Tape) -> Tensor:
    """What each node sees: itself and its ancestors.

    Returns:
        bool [B, N, N], True where the row's node sees the column's; every row sees itself, also
        on padding, so that no attention row is empty.
    """
    batch, nodes = tape.tokens_BN.shape
    eye = torch.eye(nodes, dtype=torch.bool, device=tape.tokens_BN.device)
    if tape.linear:
        return torch.ones_like(eye).tril().expand(batch, nodes, nodes)
    seen = eye.repeat(batch, 1, 1)
    rows = torch.arange(batch, device=seen.device)
    for node in range(1, nodes):
        seen[:, node] |= seen[rows, tape.parents_BN[:, node]]
    return seen


def _prompt_parts(space: ActionSpace, trajectories: Trajectories) -> tuple[Tensor, Tensor]:
    """Start and prompt as nodes [B, 1 + P], and the prompt lengths [B]."""
    start = torch.full_like(trajectories.num_actions_B, space.start_id).unsqueeze(1)
    prompts = trajectories.prompts
    if prompts is None:
        return start, torch.zeros_like(trajectories.num_actions_B)
    tokens = prompts.tokens_BL.masked_fill(~prompts.mask_BL, 0)
    return torch.cat([start, tokens], dim=1), prompts.lengths_B


def _replay_legal(space: ActionSpace, trajectories: Trajectories) -> Tape | None:
    """All steps at once, if every action of every log is legal where it stands; else None.

    What stands at a depth is the node last typed there, so the node of a state is the last one
    typed at the state's depth.
    """
    head, prompt_length_B = _prompt_parts(space, trajectories)
    actions, mask = trajectories.actions_BT, trajectories.mask_BT
    typed = mask & (actions >= 0) & (actions < space.num_tokens)
    rubbed = mask & (actions == space.backspace_id) & space.backspace
    ended = mask & (actions == space.eos_id) & space.eos
    prompt_B1 = prompt_length_B.unsqueeze(1)
    change = functional.pad((typed.long() - rubbed.long()).cumsum(1), (1, 0))
    length_BS = prompt_B1 + change
    deletions_BS = functional.pad(rubbed.cumsum(1), (1, 0))
    allowed = space.legality(length_BS, prompt_B1, deletions_BS, torch.full_like(length_BS, -1))
    legal = (typed & allowed.token[:, :-1]) | (rubbed & allowed.backspace[:, :-1]) | ended
    if not bool(legal.equal(mask)):
        return None

    node_BT = prompt_B1 + typed.cumsum(1)
    num_nodes = 1 + int(node_BT[:, -1].max()) if actions.numel() else 1 + int(prompt_B1.max())
    linear = not bool(rubbed.any())
    spare = torch.where(typed, node_BT, num_nodes)  # where steps without a new node write
    places = torch.arange(num_nodes + 1, device=head.device)
    is_prompt = places <= prompt_B1
    width = min(head.shape[1], num_nodes)

    def put(prompt_BN: Tensor, values_BT: Tensor) -> Tensor:
        return (prompt_BN * is_prompt).scatter(1, spare, values_BT)[:, :num_nodes]

    start_BN = functional.pad(head[:, :width], (0, num_nodes + 1 - width))
    tokens_BN = put(start_BN, actions)
    path_BD = torch.arange(space.max_length + 2, device=head.device).expand(len(actions), -1)
    if linear:  # a state's node is as deep as it has tokens
        states_BS, rubbed_BS = length_BS, torch.full_like(length_BS, -1)
    else:
        states_BS = _last_typed(length_BS, functional.pad(node_BT * typed, (1, 0)), prompt_B1)
        depth_BT = torch.where(typed, length_BS[:, 1:], space.max_length + 1)
        path_BD = path_BD.scatter_reduce(1, depth_BT, node_BT, "amax")
        before_BT = tokens_BN.gather(1, states_BS[:, :-1])
        rubbed_BS = functional.pad(torch.where(rubbed, before_BT, -1), (1, 0), value=-1)
        steps = torch.arange(rubbed_BS.shape[1], device=head.device)
        last_B1 = trajectories.num_actions_B.unsqueeze(1)
        rubbed_BS = rubbed_BS.gather(1, torch.minimum(steps, last_B1))
    legality = space.legality(length_BS, prompt_B1, deletions_BS, rubbed_BS)
    if not linear and bool((typed & (actions == legality.forbidden[:, :-1])).any()):
        return None
    return Tape(
        tokens_BN=tokens_BN,
        parents_BN=put((places - 1).clamp(min=0), states_BS[:, :-1]),
        depths_BN=put(places, length_BS[:, 1:]),
        states_BS=states_BS,
        legality_BS=legality,
        path_BD=path_BD[:, :-1].clamp(max=num_nodes - 1),
        linear=linear,
    )


def _last_typed(length_BS: Tensor, typed_BS: Tensor, prompt_B1: Tensor) -> Tensor:
    """For every state the last node typed at its depth so far.

    Args:
        length_BS: int64, the states' depths.
        typed_BS: int64, the node whose typing led to the state; 0 where nothing was typed.
        prompt_B1: int64, the node that stands where nothing was typed at a depth.
    """
    by_depth, order = length_BS.sort(dim=1, stable=True)
    # Depth by depth in order of time; the depth's share keeps what is shallower from being larger.
    shares = by_depth * (typed_BS.shape[1] + int(prompt_B1.max()) + 1)
    largest = (typed_BS.gather(1, order) + shares).cummax(dim=1).values - shares
    found = torch.empty_like(largest).scatter(1, order, largest)
    return torch.where(found > 0, found, prompt_B1)


def _replay_keys(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """Key by key, with a stack of nodes, whatever the keys are."""
    head, prompt_length_B = _prompt_parts(space, trajectories)
    device = head.device
    batch, num_actions = trajectories.actions_BT.shape
    width = head.shape[1] + num_actions
    spare = width  # where rows without a new node write
    tokens = torch.zeros(batch, width + 1, dtype=torch.int64, device=device)
    tokens[:, : head.shape[1]] = head
    parents = torch.zeros_like(tokens)
    depths = torch.zeros_like(tokens)
    places = torch.arange(head.shape[1], device=device)
    is_prompt = places <= prompt_length_B.unsqueeze(1)
    depths[:, : head.shape[1]] = places * is_prompt
    parents[:, : head.shape[1]] = (places - 1).clamp(min=0) * is_prompt

    path = torch.arange(space.max_length + 2, device=device).repeat(batch, 1)
    top, count = prompt_length_B, prompt_length_B + 1
    state = blank(space, batch, trajectories.prompts, device)
    states, legal = [top], [state.legality(space)]
    for step in range(num_actions):
        action = trajectories.actions_BT[:, step]
        state, keys = press(space, state, action, step < trajectories.num_actions_B)
        node = torch.where(keys.typed_B, count, spare).unsqueeze(1)
        tokens.scatter_(1, node, action.unsqueeze(1))
        parents.scatter_(1, node, top.unsqueeze(1))
        depths.scatter_(1, node, state.length_B.unsqueeze(1))
        depth = torch.where(keys.typed_B, state.length_B, space.max_length + 1).unsqueeze(1)
        path.scatter_(1, depth, node)
        top = path.gather(1, state.length_B.unsqueeze(1)).squeeze(1)
        count = count + keys.typed_B.long()
        states.append(top)
        legal.append(state.legality(space))

    num_nodes = int(count.max()) if batch else 1
    return Tape(
        tokens_BN=tokens[:, :num_nodes],
        parents_BN=parents[:, :num_nodes],
        depths_BN=depths[:, :num_nodes],
        states_BS=torch.stack(states, dim=1),
        legality_BS=Legality(
            torch.stack([item.token for item in legal], dim=1),
            torch.stack([item.backspace for item in legal], dim=1),
            torch.stack([item.forbidden for item in legal], dim=1),
        ),
        path_BD=path[:, : space.max_length + 1].clamp(max=num_nodes - 1),
        linear=False,
    )
