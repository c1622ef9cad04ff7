"""Trees of nodes, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

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
