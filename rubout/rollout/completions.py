"""Monte-Carlo completions: what an action is worth, by typing on from there many times.

While a batch is typed, copies of its rows branch off after every action, with the policy's memory
of what was typed, so that no prefix is encoded again. They are collected until there are enough of
them for one wide batch, typed to their ends together, and paid. Each draw is a function of the
sequence, the prefix's length, the copy's number and the step, as all draws are.

Source: SeqGAN (Yu et al. 2017), equation 4: Q(s, a) is the mean reward of N completions of the
prefix that ends with a, and the reward itself where a is the last action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rubout.keys import TapeState, is_over, press
from rubout.policy import Generation
from rubout.reward import per_action
from rubout.rollout.draw import draw, seed_of, uniforms
from rubout.types import ActionSpace, Legality, Trajectories

# Elements that the logits [M, A] of all rows that are typed on together would have.
_WIDEST = {"cpu": 2**24, "cuda": 2**27}


@dataclass(frozen=True)
class _Branch:
    """Copies of some rows at one moment: N for each row, side by side.

    Attributes:
        generation: where the copies stand.
        tape: what stands before them.
        actions_MT: int64, what was typed.
        rows_M: int64, whose copies they are.
        numbers_M: int64, their own numbers.
        next_M: int64, what each types next.
    """

    generation: Generation
    tape: TapeState
    actions_MT: Tensor
    rows_M: Tensor
    numbers_M: Tensor
    next_M: Tensor


class Completions:
    """Of one batch.

    Args:
        space: what is typed.
        copies: N, completions of each prefix.
        every: only after so many actions, and their multiples.
        seed: names the draw.
        first: number of the batch's first sequence.
        reward: pays them.
        step_penalty: taken at every action.
        temperature: divides the logits.
        suppress: actions never drawn.
    """

    def __init__(
        self,
        space: ActionSpace,
        *,
        copies: int,
        every: int,
        seed: int,
        first: int,
        reward: Callable[[Trajectories], Tensor],
        step_penalty: float,
        temperature: float,
        suppress: list[int],
    ) -> None:
        self._space, self._copies, self._every = space, copies, every
        self._seed, self._first = seed_of(seed, "completions"), first
        self._reward, self._step_penalty = reward, step_penalty
        self._temperature, self._suppress = temperature, suppress
        self._prompted = False
        self._branches: list[_Branch] = []
        self._found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def branch(
        self, generation: Generation, tape: TapeState, typed: Trajectories, going_B: Tensor
    ) -> None:
        """Copy the rows that go on, where they stand.

        Args:
            generation: of the batch.
            tape: of the batch.
            typed: all that was typed so far.
            going_B: bool [B], rows that are not over.
        """
        rows = (going_B & (tape.num_actions_B % self._every == 0)).nonzero().squeeze(1)
        if not len(rows):
            return
        rows_M = rows.repeat_interleave(self._copies)
        copy_M = torch.arange(self._copies, device=rows.device).repeat(len(rows))
        span, steps_M = self._space.action_limit + 1, tape.num_actions_B[rows_M]
        numbers_M = ((rows_M + self._first) * span + steps_M) * self._copies + copy_M
        uniforms_PN = uniforms(self._seed, numbers_M, steps_M).view(-1, self._copies)
        # All copies of a row stand before the same logits, which are made once.
        next_PN = self._draw(generation, rows, tape.legality(self._space)[rows], uniforms_PN)
        log_BT = torch.zeros(len(going_B), span, dtype=torch.int64, device=rows.device)
        log_BT[:, : typed.actions_BT.shape[1]] = typed.actions_BT
        self._prompted = typed.prompts is not None
        self._branches.append(
            _Branch(
                generation=generation.take(rows_M),
                tape=tape[rows_M],
                actions_MT=log_BT[rows_M],
                rows_M=rows_M,
                numbers_M=numbers_M,
                next_M=next_PN.flatten(),
            )
        )
        width = sum(len(branch.rows_M) for branch in self._branches) * self._space.size
        if width + len(rows_M) * self._space.size > _WIDEST.get(rows.device.type, 2**24):
            self._run()

    def values(self, episodes: Trajectories) -> Trajectories:
        """The batch with its action values.

        Args:
            episodes: all B of it, finished, with rewards.

        Returns:
            the same with `action_values_BT` and `value_errors_BT`. An action after which no
            completions began has the value of the next that has one.
        """
        if self._branches:
            self._run()
        assert episodes.rewards_BT is not None
        shape, device = episodes.rewards_BT.shape, episodes.rewards_BT.device
        last_B1 = (episodes.num_actions_B - 1).unsqueeze(1)
        value_BT = torch.zeros(shape, device=device)
        value_BT.scatter_(1, last_B1, episodes.rewards_BT.gather(1, last_B1))
        error_BT = torch.zeros(shape, device=device)
        known_BT = torch.zeros(shape, dtype=torch.bool, device=device).scatter(1, last_B1, value=1)
        for rows_P, places_P, mean_P, variance_P in self._found:
            value_BT[rows_P, places_P] = mean_P
            error_BT[rows_P, places_P] = variance_P.sqrt()
            known_BT[rows_P, places_P] = True
        steps = torch.arange(shape[1], device=device)
        next_BT = torch.where(known_BT, steps, shape[1] - 1).flip(1).cummin(1).values.flip(1)
        mask_BT = episodes.mask_BT
        return replace(
            episodes,
            action_values_BT=value_BT.gather(1, next_BT).masked_fill(~mask_BT, 0),
            value_errors_BT=error_BT.gather(1, next_BT).masked_fill(~mask_BT, 0),
        )

    def _run(self) -> None:
        """Type all that branched off to its end, and average what each prefix earned."""
        branches, self._branches = self._branches, []
        rest = [branch.generation for branch in branches[1:]]
        generation = branches[0].generation.join(rest) if rest else branches[0].generation
        begun = TapeState.cat([branch.tape for branch in branches])
        rows_M = torch.cat([branch.rows_M for branch in branches])
        numbers_M = torch.cat([branch.numbers_M for branch in branches])
        actions_MT = torch.cat([branch.actions_MT for branch in branches])
        next_M = torch.cat([branch.next_M for branch in branches])
        logs = self._type(generation, begun, actions_MT, numbers_M, next_M)
        last_M = begun.num_actions_B - 1  # the action that is judged
        returns_PN = self._returns(logs, last_M).double().view(-1, self._copies)
        variance_P = torch.zeros_like(returns_PN[:, 0])
        if self._copies > 1:
            variance_P = returns_PN.var(1) / self._copies
        places_P, rows_P = last_M[:: self._copies], rows_M[:: self._copies]
        self._found.append((rows_P, places_P, returns_PN.mean(1).float(), variance_P.float()))

    def _type(
        self,
        generation: Generation,
        tape: TapeState,
        actions_MT: Tensor,
        numbers_M: Tensor,
        next_M: Tensor,
    ) -> Trajectories:
        """Finished logs of every copy; rows that are over leave the batch."""
        space, prompts = self._space, tape.prompts() if self._prompted else None
        counts_M = tape.num_actions_B.clone()
        terminated_M = torch.zeros_like(counts_M, dtype=torch.bool)
        place = torch.arange(len(counts_M), device=counts_M.device)  # of the rows still typed
        typed_M, legality_M = next_M, tape.legality(space)
        while True:
            actions_MT[place, tape.num_actions_B] = typed_M
            tape, keys = press(space, tape, typed_M, legality_B=legality_M)
            ended_M, cut_M = is_over(space, tape, keys)
            terminated_M[place] = ended_M
            counts_M[place] = tape.num_actions_B
            going = (~(ended_M | cut_M)).nonzero().squeeze(1)
            if not len(going):
                break
            if len(going) < len(place):
                place, tape, keys = place[going], tape[going], keys[going]
                generation, typed_M = generation.take(going), typed_M[going]
            generation.step(typed_M, keys)
            legality_M = tape.legality(space)
            uniforms_M = uniforms(self._seed, numbers_M[place], tape.num_actions_B)
            typed_M = self._draw(generation, None, legality_M, uniforms_M)
        log_probs_MT = torch.zeros(actions_MT.shape, device=actions_MT.device)
        versions_M = torch.zeros_like(counts_M)
        return Trajectories(
            actions_MT, log_probs_MT, counts_M, terminated_M, versions_M, prompts
        ).trimmed()

    def _draw(
        self,
        generation: Generation,
        rows_M: Tensor | None,
        legality_M: Legality,
        numbers: Tensor,
    ) -> Tensor:
        """What is typed next, of the shape of the uniform numbers; see `draw`."""
        return draw(
            self._space,
            generation,
            rows_M,
            legality_M,
            numbers,
            self._temperature,
            self._suppress,
        )[0]

    def _returns(self, logs: Trajectories, last_M: Tensor) -> Tensor:
        """What each log earned from one of its actions on."""
        earned_MT = per_action(self._reward(logs), logs) - self._step_penalty * logs.mask_BT
        steps = torch.arange(earned_MT.shape[1], device=last_M.device)
        return (earned_MT * (steps >= last_M.unsqueeze(1))).sum(1)
