"""How a policy uses its backspace: how often, how deep, and whether it knows when to.

Two kinds of figures. Those of samples (`of_samples`) say what the policy does by itself; a policy
that has learned nothing may look busy there. Those of the test data (`of_test_data`) ask what it
does where the right answer is known, and need no sampling: behind a wrong token it should rub out,
behind the right one it should not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rubout.evaluation.estimate import Estimate, mean_of, per_action
from rubout.evaluation.nll import log_probs, nll
from rubout.keys import blank, press
from rubout.policy import Policy
from rubout.rollout.draw import seed_of, uniforms
from rubout.task import Task
from rubout.types import ActionSpace, Trajectories

TITLES = {
    "backspace_rate": ("rubbed out", "deletions, as a share of the keys pressed"),
    "backspace_run": ("run", "deletions in a row, where there are any"),
    "redo_rate": ("redone", "of tokens typed right after: the one just rubbed out"),
    "actions_per_token": ("keys per token", "keys pressed for a token that was left"),
    "corrected_errors": ("corrected errors", "P(next key rubs out) after a wrong token"),
    "false_alarms": ("false alarms", "the same after the right token"),
    "nll_test_without": ("NLL test without", "NLL test where the key may not be used"),
}
"""By figure: what a reader calls it, and what it is."""

# Not the run's seed: the slips are the same for every policy.
_SLIPS = seed_of("evaluation", "slips")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was done in each sequence, int64 [B] each.

    Attributes:
        keys_B: keys pressed, `<eos>` and deletions included.
        deletions_B: those that rubbed something out.
        runs_B: runs of deletions with no other key in between.
        retyped_B: tokens typed by the key that directly follows a deletion.
        redone_B: those of them equal to the token that this deletion rubbed out. After a run of k
            deletions it is the last one rubbed out, which stood where the new one stands.
        kept_B: tokens on the tape at the end, without the prompt.
    """

    keys_B: Tensor
    deletions_B: Tensor
    runs_B: Tensor
    retyped_B: Tensor
    redone_B: Tensor
    kept_B: Tensor


def count(space: ActionSpace, drawn: Trajectories) -> Counts:
    """Replay some logs and count; keys that do nothing count as keys, and end a run."""
    state = blank(space, len(drawn), drawn.prompts, drawn.actions_BT.device)
    runs = torch.zeros_like(drawn.num_actions_B)
    retyped, redone = torch.zeros_like(runs), torch.zeros_like(runs)
    for actions_B, active_B in zip(
        drawn.actions_BT.unbind(1), drawn.mask_BT.unbind(1), strict=True
    ):
        rubbed_B = state.rubbed_B  # -1 where the key before was no deletion
        state, keys = press(space, state, actions_B, active_B)
        again_B = keys.typed_B & (rubbed_B >= 0)
        runs = runs + (keys.rubbed_B & (rubbed_B < 0)).long()
        retyped = retyped + again_B.long()
        redone = redone + (again_B & (actions_B == rubbed_B)).long()
    return Counts(
        keys_B=drawn.num_actions_B,
        deletions_B=state.num_backspaces_B,
        runs_B=runs,
        retyped_B=retyped,
        redone_B=redone,
        kept_B=state.length_B - state.prompt_length_B,
    )


def of_samples(space: ActionSpace, drawn: Trajectories) -> dict[str, Estimate]:
    """What a policy does with its backspace while it types.

    Every figure is a ratio of sums over sequences, see `Counts`; those whose denominator is 0 in
    all of them are left out.

    Args:
        space: with a backspace.
        drawn: the policy's own samples.

    Returns:
        `backspace_rate`: deletions per key.
        `backspace_run`: deletions per run.
        `redo_rate`: of the tokens typed directly after a deletion, the share of those just rubbed
            out there.
        `actions_per_token`: keys per token that was left.
    """
    found = count(space, drawn)
    ratios = {
        "backspace_rate": (found.deletions_B, found.keys_B),
        "backspace_run": (found.deletions_B, found.runs_B),
        "redo_rate": (found.redone_B, found.retyped_B),
        "actions_per_token": (found.keys_B, found.kept_B),
    }
    return {
        name: per_action(these_B.double().cpu(), of_B.cpu())
        for name, (these_B, of_B) in ratios.items()
        if bool(of_B.any())
    }


def of_test_data(
    policy: Policy, task: Task, test: Trajectories, temperature: float = 1.0
) -> dict[str, Estimate]:
    """Whether a policy rubs out where it should, and what its backspace costs elsewhere.

    Args:
        policy: its space has a backspace; on any device.
        task: says which wrong tokens are plausible.
        test: an expert's logs, on the CPU.
        temperature: divides the logits.

    Returns:
        `corrected_errors`: mean probability that the key after a wrong token rubs it out.
        `false_alarms`: mean probability that the key after the right token rubs it out, at the same
            places.
        `nll_test_without`: nats per action where the backspace is illegal.
        The first two are left out where no sequence has a place for them, see `prefixes`.
    """
    wrong, right = prefixes(policy.space, task, test)
    found = {}
    for name, logs in (("corrected_errors", wrong), ("false_alarms", right)):
        if len(logs):
            last_B1 = logs.num_actions_B.unsqueeze(1) - 1
            chances_B = log_probs(policy, logs, temperature=temperature).gather(1, last_B1).exp()
            found[name] = mean_of(chances_B.squeeze(1))
    found["nll_test_without"] = nll_without(policy, test, temperature)
    return found


def prefixes(
    space: ActionSpace, task: Task, test: Trajectories
) -> tuple[Trajectories, Trajectories]:
    """Beginnings of an expert's logs, once with a slip at their end and once as they are.

    Each sequence is cut behind one of its tokens, uniformly, among those after which the episode
    goes on. Which one, and what the slip is, depends on the sequence's number in the split and on
    nothing else. `<eos>` is never replaced, so both kinds are of the same lengths.

    Args:
        space: with a backspace.
        task: says which wrong tokens are plausible.
        test: an expert's logs.

    Returns:
        the beginnings that end in a slip, without those in which it is the right token after all;
        and all beginnings, ending in the right token. The last action of all is the backspace.
    """
    actions = test.actions_BT
    numbers_B = torch.arange(len(test), device=actions.device)
    numbers_BT = numbers_B.unsqueeze(1) * 2**20 + torch.arange(actions.shape[1])
    slips_BT = task.slips(test, uniforms(_SLIPS, numbers_BT, 1))

    last_B = (test.mask_BT & (actions < space.num_tokens)).sum(1).clamp(max=space.action_limit - 1)
    if not space.eos:  # a full tape ends the episode
        given_B = torch.zeros_like(last_B) if test.prompts is None else test.prompts.lengths_B
        last_B = torch.minimum(last_B, space.max_length - 1 - given_B)
    place_B1 = (uniforms(_SLIPS, numbers_B, 0).double() * last_B).long().unsqueeze(1)
    has_place_B = last_B > 0

    def cut(tokens_BT: Tensor, keep_B: Tensor) -> Trajectories:
        """Some of the logs as far as their place, and a backspace."""
        wider = torch.nn.functional.pad(tokens_BT, (0, 1))
        typed = wider.scatter(1, place_B1 + 1, space.backspace_id)
        logs = Trajectories(
            actions_BT=typed,
            log_probs_BT=torch.zeros_like(typed, dtype=torch.float32),
            num_actions_B=place_B1.squeeze(1) + 2,
            terminated_B=torch.zeros_like(test.terminated_B),
            policy_version_B=test.policy_version_B,
            prompts=test.prompts,
        )[keep_B]
        typed = logs.actions_BT.masked_fill(~logs.mask_BT, 0)
        return replace(logs, actions_BT=typed).trimmed() if len(logs) else logs

    slip_B1 = slips_BT.gather(1, place_B1)
    differs_B = (slip_B1 != actions.gather(1, place_B1)).squeeze(1)
    slipped_BT = actions.scatter(1, place_B1, slip_B1)
    return cut(slipped_BT, has_place_B & differs_B), cut(actions, has_place_B)


def nll_without(policy: Policy, test: Trajectories, temperature: float = 1.0) -> Estimate:
    """NLL of the policy that may not rub out: its probabilities renormalised in every state.

    The row of the backspace stays in the head, so the policy is the same; only what is legal
    changes, which every policy reads from its space.
    """
    space = policy.space
    policy.space = replace(space, max_backspaces=0)
    try:
        return nll(policy, test, temperature=temperature)
    finally:
        policy.space = space
