"""Does a task keep its contract?"""

from __future__ import annotations

import json
from typing import Any

import torch

from rubout.checks.common import need, same
from rubout.errors import UserError
from rubout.plugins import resolve
from rubout.task import Codec, Split, Task
from rubout.types import ActionSpace, Sequences, Trajectories

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def check_task(task: Task) -> None:
    """Whether a task's splits, codec and oracle keep the contract."""
    space = task.space
    need(not space.backspace, "a task's space has no backspace: that is the run's choice")
    for name in _SPLITS:
        split = task.split(name)
        need(len(split) > 0, f"the {name} split is empty")
        need(same(split, task.split(name)), f"the {name} split is not the same when asked again")
        _check_split(space, name, split)
        _check_codec(task.codec, space, split[:200])
        oracle = task.oracle()
        if oracle is not None:
            log_probs = oracle.score(split[:64], {"log_probs"}).log_probs_BT
            finite = log_probs is not None and bool(log_probs.isfinite().all())
            need(finite, f"the oracle's log-probabilities of the {name} split are not finite")
    codec = task.codec
    try:
        text = json.dumps(codec.to_json())
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the codec's to_json is not JSON: {error}") from None
    need(json.loads(text) == codec.to_json(), "the codec's to_json does not survive JSON")
    need(codec.fingerprint == codec.fingerprint, "the codec's fingerprint is not stable")
    again: Any = resolve("rubout.tasks.codecs:codec_from_json")
    try:
        fingerprint = again(codec.to_json()).fingerprint
    except UserError as error:
        raise AssertionError(f"no run could be read again: {error}") from None
    need(fingerprint == codec.fingerprint, "the codec made again from to_json is another one")
    unknown = codec.unknown_id
    need(unknown is None or 0 <= unknown < space.num_tokens, "unknown_id is not a token")


def _check_split(space: ActionSpace, name: Split, split: Trajectories) -> None:
    """An expert's logs: tokens, then `<eos>` where there is one, and they fit."""
    actions, mask, counts = split.actions_BT, split.mask_BT, split.num_actions_B
    need(actions.dtype == counts.dtype == torch.int64, f"the {name} split is not int64")
    fits = bool(((counts >= 1) & (counts <= actions.shape[1])).all())
    need(fits, f"a sequence of the {name} split has no actions or more than there are columns")
    need(bool(split.terminated_B.all()), f"a sequence of the {name} split is not terminated")
    need(bool((split.policy_version_B == -1).all()), f"the {name} split is not by an expert (-1)")
    need(not bool(actions[~mask].any()), f"the {name} split is not 0 on padding")
    lengths = counts - int(space.eos)
    text = mask & (torch.arange(actions.shape[1]) < lengths.unsqueeze(1))
    in_range = (actions >= 0) & (actions < space.num_tokens)
    if split.prompts is not None:
        prompts = split.prompts
        lengths = lengths + prompts.lengths_B
        tokens = prompts.tokens_BL[prompts.mask_BL]
        valid = bool(((tokens >= 0) & (tokens < space.num_tokens)).all())
        need(valid, f"a prompt of the {name} split holds ids that are not tokens")
    need(bool(in_range[text].all()), f"the {name} split holds ids that are not tokens")
    need(bool((lengths <= space.max_length).all()), f"the {name} split does not fit max_length")
    if space.eos:
        ended = bool((actions[mask & ~text] == space.eos_id).all())
        need(ended, f"a sequence of the {name} split does not end by <eos>")
    else:
        full = bool((lengths == space.max_length).all())
        need(full, f"a sequence of the {name} split neither ends by <eos> nor fills the tape")


def _check_codec(codec: Codec, space: ActionSpace, split: Trajectories) -> None:
    lengths = split.num_actions_B - int(space.eos)
    rows = Sequences(split.actions_BT, lengths).lists()
    rows += [] if split.prompts is None else split.prompts.lists()
    for row in rows:
        text = codec.decode(row)
        need(isinstance(text, str), "the codec's decode does not give a text")
        if codec.unknown_id not in row:
            need(codec.encode(text) == row, f"encode(decode(x)) is not x for {row}")
