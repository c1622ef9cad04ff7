"""Action logs whose every action is legal where it stands: all their steps at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rubout.tape.tape import Tape
from rubout.types import ActionSpace, Trajectories


def replay_legal(space: ActionSpace, trajectories: Trajectories) -> Tape | None:
    """All steps at once, if every action of every log is legal where it stands; else None."""
    actions_BT, mask_BT = trajectories.actions_BT, trajectories.mask_BT
    typed_BT = mask_BT & (actions_BT >= 0) & (actions_BT < space.num_tokens)
    if space.backspace:
        rubbed_BT = mask_BT & (actions_BT == space.backspace_id)
        if bool(rubbed_BT.any()):
            return _replay_tree(space, trajectories, typed_BT, rubbed_BT)
    return _replay_line(space, trajectories, typed_BT)


def _replay_line(space: ActionSpace, trajectories: Trajectories, typed_BT: Tensor) -> Tape | None:
    """Logs that typed all along: a state's node is as deep as it has tokens."""
    head, prompt_length_B = prompt_parts(space, trajectories)
    prompt_B1 = prompt_length_B.unsqueeze(1)
    depths_BS = prompt_B1 + functional.pad(typed_BT.cumsum(1), (1, 0))
    nothing_BS = torch.full_like(depths_BS, -1)
    deletions_BS = torch.zeros_like(depths_BS)
    legality_BS = space.legality(depths_BS, prompt_B1, deletions_BS, nothing_BS)
    if not _are_legal(space, trajectories, typed_BT & legality_BS.token[:, :-1]):
        return None
    last_B1 = depths_BS[:, -1:]
    num_nodes = 1 + int(last_B1.max())
    places = torch.arange(num_nodes, device=head.device)
    depths_BN = places * (places <= last_B1)
    place_BT = torch.where(typed_BT, depths_BS[:, 1:], num_nodes)
    path_D = torch.arange(space.max_length + 1, device=head.device).clamp(max=num_nodes - 1)
    return Tape(
        tokens_BN=_nodes(head, prompt_B1, num_nodes, place_BT, trajectories.actions_BT),
        parents_BN=(depths_BN - 1).clamp(min=0),
        depths_BN=depths_BN,
        states_BS=depths_BS,
        legality_BS=legality_BS,
        path_BD=path_D.expand(len(head), -1),
        linear=True,
    )


def _replay_tree(
    space: ActionSpace, trajectories: Trajectories, typed_BT: Tensor, rubbed_BT: Tensor
) -> Tape | None:
    """Logs with backspaces.

    What stands at a depth is the node last typed there, so the node of a state is the last one
    typed at the state's depth.
    """
    head, prompt_length_B = prompt_parts(space, trajectories)
    actions, prompt_B1 = trajectories.actions_BT, prompt_length_B.unsqueeze(1)
    change_BT = typed_BT.long() - rubbed_BT.long()
    length_BS = prompt_B1 + functional.pad(change_BT.cumsum(1), (1, 0))
    deletions_BS = functional.pad(rubbed_BT.cumsum(1), (1, 0))
    allowed = space.legality(length_BS, prompt_B1, deletions_BS, torch.full_like(length_BS, -1))
    typed_or_rubbed = (typed_BT & allowed.token[:, :-1]) | (rubbed_BT & allowed.backspace[:, :-1])
    if not _are_legal(space, trajectories, typed_or_rubbed):
        return None
    node_BT = prompt_B1 + typed_BT.cumsum(1)
    num_nodes = 1 + int(node_BT[:, -1].max())
    place_BT = torch.where(typed_BT, node_BT, num_nodes)
    places = torch.arange(num_nodes, device=head.device).expand(len(head), -1)
    states_BS = _last_typed(length_BS, functional.pad(node_BT * typed_BT, (1, 0)), prompt_B1)
    tokens_BN = _nodes(head, prompt_B1, num_nodes, place_BT, actions)

    before_BT = tokens_BN.gather(1, states_BS[:, :-1])
    rubbed_BS = functional.pad(torch.where(rubbed_BT, before_BT, -1), (1, 0), value=-1)
    steps = torch.arange(rubbed_BS.shape[1], device=head.device)
    last_B1 = trajectories.num_actions_B.unsqueeze(1)
    rubbed_BS = rubbed_BS.gather(1, torch.minimum(steps, last_B1))
    legality_BS = space.legality(length_BS, prompt_B1, deletions_BS, rubbed_BS)
    if bool((typed_BT & (actions == legality_BS.forbidden[:, :-1])).any()):
        return None
    path_BD = torch.arange(space.max_length + 2, device=head.device).expand(len(head), -1)
    depth_BT = torch.where(typed_BT, length_BS[:, 1:], space.max_length + 1)
    path_BD = path_BD.scatter_reduce(1, depth_BT, node_BT, "amax")[:, :-1]
    above_BN = (places - 1).clamp(min=0)
    return Tape(
        tokens_BN=tokens_BN,
        parents_BN=_nodes(above_BN, prompt_B1, num_nodes, place_BT, states_BS[:, :-1]),
        depths_BN=_nodes(places, prompt_B1, num_nodes, place_BT, length_BS[:, 1:]),
        states_BS=states_BS,
        legality_BS=legality_BS,
        path_BD=path_BD.clamp(max=num_nodes - 1),
        linear=False,
    )


def _are_legal(space: ActionSpace, trajectories: Trajectories, allowed_BT: Tensor) -> bool:
    """Whether every action is an `<eos>` or among those that are allowed."""
    mask_BT = trajectories.mask_BT
    if space.eos:
        allowed_BT = allowed_BT | (mask_BT & (trajectories.actions_BT == space.eos_id))
    return allowed_BT.equal(mask_BT)


def _nodes(
    start_BP: Tensor, prompt_B1: Tensor, num_nodes: int, place_BT: Tensor, typed_BT: Tensor
) -> Tensor:
    """What is known of every node, int64 [B, N]; 0 on padding.

    Args:
        start_BP: of start and prompt, of any width.
        prompt_B1: int64, how many tokens of the prompt there are.
        num_nodes: N.
        place_BT: int64, the node that an action made; N: none.
        typed_BT: of the node that an action made.
    """
    start_BP = start_BP[:, :num_nodes]
    places = torch.arange(start_BP.shape[1], device=start_BP.device)
    is_prompt_BP = places <= prompt_B1
    first_BN = functional.pad(start_BP * is_prompt_BP, (0, num_nodes + 1 - start_BP.shape[1]))
    return first_BN.scatter(1, place_BT, typed_BT)[:, :num_nodes]


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


def prompt_parts(space: ActionSpace, trajectories: Trajectories) -> tuple[Tensor, Tensor]:
    """Start and prompt as nodes [B, 1 + P], and the prompt lengths [B]."""
    start = torch.full_like(trajectories.num_actions_B, space.start_id).unsqueeze(1)
    prompts = trajectories.prompts
    if prompts is None:
        return start, torch.zeros_like(trajectories.num_actions_B)
    tokens = prompts.tokens_BL.masked_fill(~prompts.mask_BL, 0)
    return torch.cat([start, tokens], dim=1), prompts.lengths_B
