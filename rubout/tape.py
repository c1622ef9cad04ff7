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
    if _is_plain(space, trajectories):
        return _replay_linear(space, trajectories)
    return _replay_tree(space, trajectories)


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


def _is_plain(space: ActionSpace, trajectories: Trajectories) -> bool:
    """No key of these logs rubs out anything or is illegal: the tape needs no replay."""
    _, prompt_length_B = _prompt_parts(space, trajectories)
    actions, mask = trajectories.actions_BT, trajectories.mask_BT
    is_token = mask & (actions >= 0) & (actions < space.num_tokens)
    legal = is_token | (mask & (actions == space.eos_id) & space.eos)
    fits = (is_token.sum(1) + prompt_length_B <= space.max_length).all()
    return bool((legal == mask).all() & fits)


def _replay_linear(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """The closed form of `_replay_tree` for logs without a deletion."""
    head, prompt_length_B = _prompt_parts(space, trajectories)
    device = head.device
    batch, num_actions = trajectories.actions_BT.shape
    is_token = trajectories.mask_BT & (trajectories.actions_BT < space.num_tokens)
    typed_B = is_token.sum(1)
    last_B = prompt_length_B + typed_B
    num_nodes = 1 + int(last_B.max()) if batch else 1

    tokens = torch.zeros(batch, head.shape[1] + num_actions + 1, dtype=torch.int64, device=device)
    tokens[:, : head.shape[1]] = head
    steps = torch.arange(num_actions, device=device)
    places = torch.where(is_token, prompt_length_B.unsqueeze(1) + 1 + steps, tokens.shape[1] - 1)
    tokens = tokens.scatter(1, places, trajectories.actions_BT)[:, :num_nodes]

    nodes = torch.arange(num_nodes, device=device).expand(batch, -1)
    real = nodes <= last_B.unsqueeze(1)
    steps = torch.arange(num_actions + 1, device=device)
    states = torch.minimum(prompt_length_B.unsqueeze(1) + steps, last_B.unsqueeze(1))
    zeros = torch.zeros_like(states)
    path = torch.arange(space.max_length + 1, device=device).clamp(max=num_nodes - 1)
    return Tape(
        tokens_BN=tokens.masked_fill(~real, 0),
        parents_BN=(nodes - 1).clamp(min=0).masked_fill(~real, 0),
        depths_BN=nodes.masked_fill(~real, 0),
        states_BS=states,
        legality_BS=space.legality(states, prompt_length_B.unsqueeze(1), zeros, zeros - 1),
        path_BD=path.expand(batch, -1),
        linear=True,
    )


def _replay_tree(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """Key by key, with a stack of nodes: what stands at each depth."""
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
