"""Each check passes on what keeps the contract and goes red on what is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from learners.mle import MLE, MLEConfig
from learners.psi_mle import PsiMLEConfig
from rubout.checks import check_learner, check_policy, check_reward, check_task, random_logs
from rubout.keys import Keys, blank, press
from rubout.learner import Context, Demand
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.policies.network import Memory
from rubout.policy import Policy, Scores, Want
from rubout.tape import Tape, replay, survivors, written
from rubout.task import Codec, Split, Task
from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.codecs import CharCodec, IdsCodec
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.types import ActionSpace, Sequences, Trajectories

SPACE = ActionSpace(4, 5, backspace=True)
CONFIG = LSTMConfig(embedding=6, hidden=7, init_std=0.7)


def make_policy(space: ActionSpace) -> Policy:
    return LSTMPolicy(space, CONFIG)


# --- random logs -------------------------------------------------------------------------------


@pytest.mark.parametrize("with_prompts", [False, True])
@pytest.mark.parametrize(
    "space",
    [SPACE, ActionSpace(4, 5, eos=False), replace(SPACE, forbid_redo=True, max_backspaces=1)],
)
def test_random_logs_are_legal_and_end(space: ActionSpace, with_prompts: bool) -> None:
    logs = random_logs(space, 40, 0, with_prompts=with_prompts)
    legal = space.mask(replay(space, logs).legality_BS)[:, :-1]
    chosen = legal.gather(2, logs.actions_BT.unsqueeze(2)).squeeze(2)
    assert bool(chosen[logs.mask_BT].all())
    assert bool((logs.terminated_B | (logs.num_actions_B == space.action_limit)).all())
    if space.backspace:
        assert bool((logs.actions_BT == space.backspace_id).any())
    if with_prompts:
        assert logs.prompts is not None
        assert len(set(logs.prompts.lengths_B.tolist())) > 1


def test_random_logs_of_a_policy() -> None:
    torch.manual_seed(0)
    policy = make_policy(SPACE)
    logs = random_logs(SPACE, 9, 0, policy=policy)
    scored = policy.score(logs, {"log_probs"}).log_probs_BT
    assert scored is not None
    torch.testing.assert_close(logs.log_probs_BT, scored.detach(), rtol=1e-5, atol=1e-5)


# --- policies ----------------------------------------------------------------------------------


class BrokenPolicy(LSTMPolicy):
    """Changes what `score` gives."""

    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        return scores

    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        return self.change(super().score(trajectories, want, temperature), want, trajectories)


class OtherScores(BrokenPolicy):
    def encode(self, tape: Tape) -> Tensor:
        return super().encode(tape) * 1.01


class OtherValues(BrokenPolicy):
    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        values = scores.values_BS
        return scores if values is None else replace(scores, values_BS=values * 1.001)


class Unmasked(BrokenPolicy):
    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        rows = scores.log_softmax_BTA
        if rows is None:
            return scores
        return replace(scores, log_softmax_BTA=rows.clamp(min=-30))


class Chatty(BrokenPolicy):
    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        if "values" in want:
            return scores
        return replace(scores, values_BS=torch.zeros(len(logs), logs.actions_BT.shape[1] + 1))


class Padded(BrokenPolicy):
    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        if scores.log_probs_BT is None:
            return scores
        return replace(scores, log_probs_BT=scores.log_probs_BT.masked_fill(~logs.mask_BT, 1.0))


class Normalised(BrokenPolicy):
    """Depends on the batch."""

    def change(self, scores: Scores, want: Collection[Want], logs: Trajectories) -> Scores:
        if scores.log_probs_BT is None or len(want) > 1:
            return scores
        return replace(scores, log_probs_BT=scores.log_probs_BT - 0.1 * len(logs))


class NoTemperature(LSTMPolicy):
    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        return super().score(trajectories, want)


class BadGradients(LSTMPolicy):
    def encode(self, tape: Tape) -> Tensor:
        hidden = super().encode(tape)
        return hidden + 0 * (hidden - hidden).sqrt()  # the gradient of sqrt at 0 is infinite


class Forgetful(LSTMPolicy):
    """After a backspace it goes on from where it was."""

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        output = super().extend(memory, rows_M, tokens_M, depths_M)
        for states in memory.values():
            rows = torch.arange(len(states)) if rows_M is None else rows_M
            states[rows] = states[rows, depths_M].unsqueeze(1).expand_as(states[rows]).clone()
        return output


class Remembers(LSTMPolicy):
    """Likes token 0 the better the more was rubbed out: it types as it scores, and yet is wrong."""

    def start(self, batch_size: int, prompts: Sequences | None = None) -> Any:
        typing = super().start(batch_size, prompts)
        step, logits, count = typing.step, typing.logits, torch.zeros(batch_size)

        def follow(actions_B: Tensor, keys: Keys) -> None:
            step(actions_B, keys)
            count.add_(keys.rubbed_B)

        def liked(rows_M: Tensor | None = None) -> Tensor:
            logits_MA = logits(rows_M)
            logits_MA[:, 0] += count if rows_M is None else count[rows_M]
            return logits_MA

        def scaled(rows_M: Tensor, size: int, factor: float) -> Any:
            return (liked(part) * factor for part in rows_M.split(size))

        typing.step, typing.logits, typing.scaled_logits = follow, liked, scaled
        return typing

    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        """Literally by generation."""
        space, mask = self.space, trajectories.mask_BT
        typing = self.start(len(trajectories), trajectories.prompts)
        state = blank(space, len(trajectories), trajectories.prompts, "cpu")
        logits = []
        for step in range(mask.shape[1] + 1):
            legal = space.mask(state.legality(space))
            logits.append((typing.logits() / temperature).masked_fill(~legal, -torch.inf))
            if step < mask.shape[1]:
                actions = trajectories.actions_BT[:, step]
                state, keys = press(space, state, actions, mask[:, step])
                typing.step(actions, keys)
        logits_BSA = torch.stack(logits, dim=1)
        rows = logits_BSA[:, :-1].log_softmax(2).masked_fill(~mask.unsqueeze(2), 0.0)
        chosen = rows.gather(2, trajectories.actions_BT.unsqueeze(2)).squeeze(2)
        real = torch.arange(mask.shape[1] + 1) <= trajectories.num_actions_B.unsqueeze(1)
        return Scores(
            chosen.masked_fill(~mask, 0.0) if "log_probs" in want else None,
            logits_BSA.logsumexp(2).masked_fill(~real, 0.0) if "values" in want else None,
            rows if "log_softmax" in want else None,
        )


Typing: Any = type(make_policy(SPACE).start(1))


class SameLogits(Typing):
    """Each call gives the same tensor."""

    held: ClassVar[dict[tuple[int, ...], Tensor]] = {}

    def logits(self, rows_M: Tensor | None = None) -> Tensor:
        new = super().logits(rows_M)
        old = self.held.setdefault(tuple(new.shape), new)
        return old.copy_(new) if bool(old.isfinite().all()) else old


class OtherRows(Typing):
    def logits(self, rows_M: Tensor | None = None) -> Any:
        return super().logits(None if rows_M is None else rows_M.sort().values)


class Sorted(Typing):
    def take(self, rows_M: Tensor) -> Any:
        return super().take(rows_M.sort().values)


class Itself(Typing):
    """Nothing is copied where all rows are taken as they are."""

    def take(self, rows_M: Tensor) -> Any:
        everyone = torch.arange(len(self._depth_B))
        return self if rows_M.equal(everyone) else super().take(rows_M)


class Shallow(Typing):
    """The memory is not copied where all rows are taken as they are."""

    def take(self, rows_M: Tensor) -> Any:
        new = super().take(rows_M)
        if rows_M.equal(torch.arange(len(self._depth_B))):
            new._memory = self._memory
        return new


class Oblivious(Typing):
    """What was taken knows where it stands, and not what came before."""

    def take(self, rows_M: Tensor) -> Any:
        new = super().take(rows_M)
        new._memory = {name: value * 0 for name, value in new._memory.items()}
        return new


class CannotRubOut(Typing):
    """What was taken knows the present states, and not those a backspace returns to."""

    def take(self, rows_M: Tensor) -> Any:
        new = super().take(rows_M)
        present = torch.arange(new._hidden_BLD.shape[1]) == new._depth_B.unsqueeze(1)
        new._hidden_BLD = new._hidden_BLD * present.unsqueeze(2)
        return new


class GivesAway(Typing):
    """What is taken is missing where it was taken from."""

    def take(self, rows_M: Tensor) -> Any:
        new = super().take(rows_M)
        self._memory = {name: value * 0 for name, value in self._memory.items()}
        return new


class Unscaled(Typing):
    def scaled_logits(self, rows_M: Tensor, size: int, factor: float) -> Any:
        return super().scaled_logits(rows_M, size, 1.0)


class AllAtOnce(Typing):
    def scaled_logits(self, rows_M: Tensor, size: int, factor: float) -> Any:
        return super().scaled_logits(rows_M, 2 * size, factor)


class JoinsBackwards(Typing):
    def join(self, others: Sequence[Any]) -> Any:
        return super().join(others[::-1])


class JoinsStates(Typing):
    """The others' memory is left behind."""

    def join(self, others: Sequence[Any]) -> Any:
        new = super().join(others)
        for value in new._memory.values():
            value[len(self._depth_B) :] = 0
        return new


TAKEN = "what was taken does not go on as the rows"
JOINED = "joined generations do not go on as each by itself"


@pytest.mark.parametrize(
    ("broken", "message", "backspace"),
    [
        *((SameLogits, "the logits are not the caller's own", back) for back in (False, True)),
        *((OtherRows, "logits of some rows are not those of all", back) for back in (False, True)),
        (Unscaled, "the scaled logits are not the logits times the number", True),
        (AllAtOnce, "not so many scaled logits as were asked for", True),
        *((kind, TAKEN, back) for kind in (Sorted, Itself, Shallow) for back in (False, True)),
        *((Oblivious, TAKEN, back) for back in (False, True)),
        (CannotRubOut, TAKEN, True),
        *((GivesAway, "by itself where rows of it were taken", back) for back in (False, True)),
        *((kind, JOINED, back) for kind in (JoinsBackwards, JoinsStates) for back in (False, True)),
    ],
)
def test_a_broken_generation(broken: type, message: str, backspace: bool) -> None:
    class Broken(LSTMPolicy):
        def start(self, batch_size: int, prompts: Sequences | None = None) -> Any:
            typing = super().start(batch_size, prompts)
            typing.__class__ = broken
            return typing

    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_policy(Broken(replace(SPACE, backspace=backspace), CONFIG))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (OtherScores, "scoring differs from generation"),
        (OtherValues, "values are not the logsumexp"),
        (Unmasked, "not finite on exactly the legal actions"),
        (Chatty, "score gives what was not asked for"),
        (Padded, "scores are not 0 on padding"),
        (Normalised, "depends on its batch-mates"),
        (NoTemperature, "a temperature does not divide the logits"),
        (BadGradients, "a gradient of the scores is not finite"),
        (Forgetful, "scoring differs from generation"),
        (Remembers, "what was rubbed out leaves a trace"),
    ],
)
def test_a_broken_policy(broken: type[LSTMPolicy], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_policy(broken(SPACE, CONFIG))


def test_a_policy_is_left_as_it_was() -> None:
    policy = make_policy(SPACE).train()
    check_policy(policy)
    assert policy.training
    assert all(parameter.grad is None for parameter in policy.parameters())


# --- rewards -----------------------------------------------------------------------------------


def by_row(logs: Trajectories) -> Tensor:
    return survivors(SPACE, logs).tokens_BL.sum(1).float()


def by_action(logs: Trajectories) -> Tensor:
    return logs.actions_BT.float() * logs.mask_BT


def mutating(logs: Trajectories) -> Tensor:
    logs.actions_BT.clamp_(max=1)
    return logs.num_actions_B.float()


@pytest.mark.parametrize("reward", [by_row, by_action])
def test_a_reward(reward: Callable[[Trajectories], Tensor]) -> None:
    check_reward(reward, SPACE)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda logs: by_row(logs).mean(), "shape"),
        (lambda logs: by_row(logs).double(), "float64, not float32"),
        (lambda logs: by_row(logs) / 0, "not finite"),
        (lambda logs: logs.actions_BT.float() + 1, "not 0 on padding"),
        (lambda logs: torch.rand(len(logs)), "differs"),
        (lambda logs: by_row(logs) - by_row(logs).mean(), "batch-mates"),
        (mutating, "changes the trajectories"),
    ],
)
def test_a_broken_reward(reward: Callable[[Trajectories], Tensor], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reward(reward, SPACE)


# --- tasks -------------------------------------------------------------------------------------


class Lines(Task):
    """Three words, as long as nobody breaks it."""

    space = ActionSpace(3, 3)

    def __init__(self) -> None:
        self.codec: Codec = CharCodec("abc")

    def split(self, name: Split) -> Trajectories:
        return written(self.space, Sequences.of([[0, 1, 2], [1], []]))


class Changed(Lines):
    """Returns what `change` makes of it."""

    def __init__(self, change: Callable[[Trajectories], Trajectories]) -> None:
        super().__init__()
        self.change = change

    def split(self, name: Split) -> Trajectories:
        return self.change(super().split(name))


class WithCodec(Lines):
    def __init__(self, codec: Codec) -> None:
        self.codec = codec


class Mute(CharCodec):
    def decode(self, tokens: list[int]) -> str:
        return tokens  # type: ignore[return-value]


class Lossy(CharCodec):
    def encode(self, text: str) -> list[int]:
        return super().encode(text)[:2]


class NotJson(CharCodec):
    def to_json(self) -> dict[str, object]:
        return {"tokens": {"a", "b"}}


class Restless(CharCodec):
    count = 0

    @property
    def fingerprint(self) -> str:
        self.count += 1
        return str(self.count)


class WithBackspace(Lines):
    space = ActionSpace(3, 3, backspace=True)


class Doubtful(Oracle):
    def oracle(self) -> LSTMPolicy:
        policy = super().oracle()
        with torch.no_grad():
            policy.head.bias[0] = torch.nan
        return policy


def put(logs: Trajectories, column: int, action: int) -> Trajectories:
    logs.actions_BT[0, column] = action
    return logs


TASKS: list[tuple[Callable[[], Task], str]] = [
    (WithBackspace, "no backspace"),
    (lambda: Changed(lambda logs: logs[:0]), "the train split is empty"),
    (lambda: Changed(lambda logs: logs[torch.randperm(3)]), "not the same when asked again"),
    (lambda: Changed(lambda logs: replace(logs, terminated_B=~logs.terminated_B)), "terminated"),
    (lambda: Changed(lambda logs: put(logs, 1, -1)), "not tokens"),
    (lambda: Changed(lambda logs: put(logs, 3, 0)), "does not end by <eos>"),
    (lambda: Changed(lambda logs: put(logs[1:], 3, 1)), "not 0 on padding"),
    (lambda: Changed(lambda logs: replace(logs, num_actions_B=logs.num_actions_B * 0)), "no act"),
    (lambda: Changed(lambda logs: replace(logs, policy_version_B=logs.num_actions_B)), "expert"),
    (
        lambda: Changed(lambda logs: replace(logs, prompts=Sequences.of([[0]] * 3))),
        "does not fit max_length",
    ),
    (
        lambda: Changed(lambda logs: replace(logs[1:], prompts=Sequences.of([[3]] * 2))),
        "a prompt of the train split holds ids",
    ),
    (lambda: WithCodec(Mute("abc")), "does not give a text"),
    (lambda: WithCodec(Lossy("abc")), "is not x"),
    (lambda: WithCodec(NotJson("abc")), "is not JSON"),
    (lambda: WithCodec(Restless("abc")), "fingerprint is not stable"),
    (lambda: Doubtful(OracleConfig(vocabulary=5, length=3, hidden=4)), "oracle's log-prob"),
]


@pytest.fixture
def _cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path))


@pytest.mark.usefixtures("_cache")
def test_tasks() -> None:
    check_task(Lines())
    check_task(Arithmetic(Arithmetic.Config(train=30, validation=5, test=5)))
    small = OracleConfig(vocabulary=5, length=3, hidden=4, train=20, validation=10, test=10)
    check_task(Oracle(small))
    check_task(WithCodec(IdsCodec(3)))


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize(("make", "message"), TASKS)
def test_a_broken_task(make: Callable[[], Task], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check_task(make())


# --- learners ----------------------------------------------------------------------------------


class Still(MLE):
    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        return {"loss": 0.0}


class NotFinite(MLE):
    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        return super().update(data, rollouts) | {"loss": float("nan")}


class Tensors(MLE):
    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        loss: Any = torch.zeros(())
        return super().update(data, rollouts) | {"loss": loss}


class Mutating(MLE):
    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        found = super().update(data, rollouts)
        data.log_probs_BT.add_(1)
        return found


class Hidden(MLE):
    """Trains a network that no checkpoint holds."""

    def __init__(self, policy: Policy, config: MLEConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.extra = nn.Linear(1, 1)

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        with torch.no_grad():
            self.extra.weight += 1
        return super().update(data, rollouts)


class NoPolicy(MLE):
    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.policy}


class NoOptimizer(MLE):
    """Adam's moments are lost."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {}


class Extra(MLE):
    """Its optimiser holds a parameter that is in no module."""

    def __init__(self, policy: Policy, config: MLEConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})


class Counting(MLE):
    """The learning rate depends on a count that `state` does not give."""

    count = 0

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        self.count += 1
        self.optimizer.param_groups[0]["lr"] = 0.01 / self.count
        return super().update(data, rollouts)


class CountingInState(Counting):
    def state(self) -> dict[str, float | int | str]:
        return {"count": self.count}

    def load_state(self, state: Mapping[str, float | int | str]) -> None:
        self.count = int(state["count"])


class Secretive(MLE):
    def demand(self, update: int) -> Demand:
        return Demand(rollouts=4)


class Moody(Secretive):
    uses_rollouts: ClassVar[bool] = True

    def __init__(self, policy: Policy, config: MLEConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.asked = 0

    def demand(self, update: int) -> Demand:
        self.asked += 1
        return Demand(rollouts=self.asked)


@dataclass(frozen=True)
class Seen:
    """What a learner was handed."""

    rollouts: ClassVar[list[Trajectories]] = []


class Observer(Secretive):
    uses_rollouts: ClassVar[bool] = True

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        assert rollouts is not None
        Seen.rollouts.append(rollouts)
        return super().update(data, rollouts)


def test_learners() -> None:
    check_learner("mle", make_policy)
    check_learner("psi_mle", make_policy, PsiMLEConfig(mle_updates=2, warmup=1))
    check_learner(CountingInState, make_policy, space=SPACE)


def test_a_learner_is_given_what_it_asks_for() -> None:
    Seen.rollouts.clear()
    check_learner(Observer, make_policy, space=SPACE, reward=by_row)
    assert {len(rollouts) for rollouts in Seen.rollouts} == {4}
    assert Seen.rollouts[-1].policy_version_B.tolist() == [3] * 4
    for rollouts in Seen.rollouts:
        assert rollouts.rewards_BT is not None
        torch.testing.assert_close(rollouts.rewards_BT.sum(1), by_row(rollouts))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Still, "the policy has not changed"),
        (NotFinite, "metric loss is not finite"),
        (Tensors, "metric loss is a Tensor"),
        (Mutating, "update changes the data"),
        (Hidden, r"extra.weight changes and is not part of modules"),
        (NoPolicy, "lacks the policy"),
        (NoOptimizer, "resumed before update 1"),
        (Extra, "trains what is not part of modules"),
        (Counting, "resumed before update 1"),
        (Secretive, "uses_rollouts is False"),
        (Moody, "not a pure function"),
    ],
)
def test_a_broken_learner(broken: type[MLE], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_learner(broken, make_policy)
