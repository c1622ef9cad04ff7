"""From action logs to trees."""

from __future__ import annotations

from dataclasses import replace

import torch

from rubout.keys import blank, press
from rubout.tape.at_once import prompt_parts, replay_legal
from rubout.tape.tape import Tape
from rubout.types import ActionSpace, Legality, Sequences, Trajectories


def replay(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """Lay action logs out as trees: nodes, parents, depths, and the node of every state.

    Args:
        space: what the actions mean.
        trajectories: B logs of up to T actions each, with prompts of up to P tokens.

    Returns:
        the tape, N <= 1 + P + T nodes wide.
    """
    tape = replay_legal(space, trajectories)
    return replay_keys(space, trajectories) if tape is None else tape


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


def replay_keys(space: ActionSpace, trajectories: Trajectories) -> Tape:
    """Key by key, with a stack of nodes, whatever the keys are."""
    head, prompt_length_B = prompt_parts(space, trajectories)
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
