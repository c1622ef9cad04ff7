"""Trajectories and weights as they travel: numpy arrays, as small as their values allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from rubout.types import EARNED, Sequences, Trajectories

Packed = dict[str, np.ndarray]
_REPORT = "report."


def pack(trajectories: Trajectories, num_actions: int) -> Packed:
    """Trajectories as arrays: actions in 16 bits where `num_actions` values fit.

    Args:
        trajectories: on any device.
        num_actions: A, the size of the action space.
    """
    small = np.int16 if num_actions <= 2**15 else np.int32
    packed = {
        "actions": trajectories.actions_BT.cpu().numpy().astype(small),
        "log_probs": trajectories.log_probs_BT.cpu().numpy(),
        "num_actions": trajectories.num_actions_B.cpu().numpy().astype(np.int32),
        "terminated": trajectories.terminated_B.cpu().numpy(),
        "policy_version": trajectories.policy_version_B.cpu().numpy().astype(np.int32),
    }
    if trajectories.prompts is not None:
        packed["prompt_tokens"] = trajectories.prompts.tokens_BL.cpu().numpy().astype(small)
        packed["prompt_lengths"] = trajectories.prompts.lengths_B.cpu().numpy().astype(np.int32)
    for name in EARNED:
        value = getattr(trajectories, name)
        if value is not None:
            packed[name] = value.cpu().numpy()
    for name, value in (trajectories.reports or {}).items():
        packed[_REPORT + name] = value.cpu().numpy()
    if trajectories.intended_BT is not None:
        packed["intended"] = trajectories.intended_BT.cpu().numpy().astype(small)
    return packed


def unpack(packed: Mapping[str, np.ndarray]) -> Trajectories:
    """What `pack` packed, on the CPU; copies, since arrays from Ray's store are shared."""

    def tensor(name: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.array(packed[name])).to(dtype)

    prompts = None
    if "prompt_tokens" in packed:
        prompts = Sequences(
            tensor("prompt_tokens", torch.int64), tensor("prompt_lengths", torch.int64)
        )
    return Trajectories(
        actions_BT=tensor("actions", torch.int64),
        log_probs_BT=tensor("log_probs", torch.float32),
        num_actions_B=tensor("num_actions", torch.int64),
        terminated_B=tensor("terminated", torch.bool),
        policy_version_B=tensor("policy_version", torch.int64),
        prompts=prompts,
        reports={
            name.removeprefix(_REPORT): tensor(name, torch.float32)
            for name in packed
            if name.startswith(_REPORT)
        }
        or None,
        **{name: tensor(name, torch.float32) for name in EARNED if name in packed},
        intended_BT=tensor("intended", torch.int64) if "intended" in packed else None,
    )


def pack_weights(modules: Mapping[str, nn.Module]) -> dict[str, Packed]:
    """The state of some modules as arrays: numpy crosses Ray's store ten times as fast as torch."""
    return {
        name: {
            key: value.detach().cpu().numpy().copy() for key, value in module.state_dict().items()
        }
        for name, module in modules.items()
    }


def load_weights(module: nn.Module, packed: Mapping[str, np.ndarray]) -> None:
    """Copy arrays into a module's own parameters: what lies in the store is never written to."""
    # np.array copies: torch must not see the store's read-only memory.
    module.load_state_dict(
        {key: torch.from_numpy(np.array(value)) for key, value in packed.items()}
    )
