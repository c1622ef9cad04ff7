"""Quality and diversity over temperatures: the same temperature in sampling and in scoring.

Where the truth is known, a temperature's quality is NLL_oracle; where sequences answer a prompt,
the task's own score; elsewhere BLEU-5 against the test data, whose diversity is Self-BLEU-5.
Otherwise diversity is NLL_test.

Source: Caccia et al., "Language GANs Falling Short" (ICLR 2020), who multiply the logits by 1 / T;
the area is the hypervolume of Zitzler and Thiele (IEEE Trans. Evol. Comp. 1999).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rubout.evaluation import truth
from rubout.evaluation.draws import continuations, draw, head
from rubout.evaluation.estimate import Estimate, mean_of, per_action
from rubout.evaluation.nll import log_likelihoods_at, nll
from rubout.evaluation.quality import bleu_of, texts, words
from rubout.evaluation.references import uniform
from rubout.policy import Policy
from rubout.tape import survivors
from rubout.task import Task
from rubout.types import Trajectories

ORACLE_MULTIPLIERS = tuple(round(0.1 + 0.03 * place, 2) for place in range(80))
TEXT_MULTIPLIERS = (
    *(round(0.9 + 0.05 * place, 2) for place in range(11)),
    *(round(1.5 + 0.1 * place, 2) for place in range(6)),
    3.0,
    4.0,
)
"""Those of Caccia et al., as are the 80 for an oracle."""


@dataclass(frozen=True)
class SweepPoint:
    """One temperature.

    Attributes:
        multiplier: 1 / T, what the logits are multiplied by.
        figures: of the policy at this temperature.
    """

    multiplier: float
    figures: Mapping[str, Estimate]

    def to_json(self) -> dict[str, object]:
        """Plain values, without intervals: there are many points."""
        values = {name: one.to_json(interval=False) for name, one in self.figures.items()}
        return {"multiplier": self.multiplier, "temperature": 1.0 / self.multiplier, **values}


@dataclass(frozen=True)
class Axis:
    """One side of what a sweep weighs.

    Attributes:
        figure: its name, in every point.
        worst: what anything useful is better than; areas are measured from there.
        higher: whether higher is better.
    """

    figure: str
    worst: float
    higher: bool = False

    def loss(self, point: SweepPoint) -> float:
        """By how much a point falls short; lower is better."""
        mean = point.figures[self.figure].mean
        return -mean if self.higher else mean

    @property
    def limit(self) -> float:
        """The loss of the worst."""
        return -self.worst if self.higher else self.worst


def axes(task: Task, test: Trajectories, num_samples: int, seed: int) -> tuple[Axis, Axis]:
    """Quality and diversity of a task's sweeps; the worst NLL is that of uniform actions."""
    knows_nothing = uniform(task.space)
    diversity = Axis("nll_test", nll(knows_nothing, test).mean)
    oracle = task.oracle()
    if oracle is not None:
        drawn = draw(knows_nothing, num_samples, seed)
        worst = truth.nll_oracle(oracle, task.space, drawn).mean
        return Axis("nll_oracle", worst), diversity
    if test.prompts is not None:
        asked = head(test, num_samples)
        drawn = draw(knows_nothing, len(asked), seed, asked.prompts)
        name = next(iter(task.score(drawn, continuations(task, asked))))
        return Axis(name, 0.0, higher=True), diversity
    return Axis("bleu-5", 0.0, higher=True), Axis("self-bleu-5", 1.0)


def sweep(
    policy: Policy,
    task: Task,
    test: Trajectories,
    multipliers: Sequence[float],
    num_samples: int,
    seed: int,
    done: Callable[[int], None] = lambda _: None,
) -> list[SweepPoint]:
    """Score a policy at several temperatures.

    Args:
        policy: on any device.
        task: where the data come from.
        test: the data to score, on the CPU; all temperatures in one pass.
        multipliers: 1 / T, each positive.
        num_samples: at each temperature; with prompts, at most as many as there are.
        seed: of the samples; the same draws at every temperature.
        done: called with the number of temperatures that have their samples.
    """
    log_likelihoods_KB = log_likelihoods_at(policy, test, multipliers)
    real = words(task.codec, survivors(task.space, test)) if _reads_text(task, test) else []
    points = []
    for place, multiplier in enumerate(multipliers):
        found = {"nll_test": per_action(-log_likelihoods_KB[place], test.num_actions_B)}
        if real:
            drawn = texts(policy, task, num_samples, seed, 1.0 / multiplier)
            found |= bleu_of(words(task.codec, drawn), real)
        else:
            found |= _of_samples(policy, task, test, num_samples, seed, 1.0 / multiplier)
        points.append(SweepPoint(multiplier, found))
        done(place + 1)
    return points


def of_training_data(task: Task, test: Trajectories, num_samples: int) -> list[SweepPoint]:
    """BLEU and Self-BLEU of real text, which has no temperature: one point, where text is read."""
    if not _reads_text(task, test):
        return []
    real = words(task.codec, survivors(task.space, test))
    some = survivors(task.space, head(task.split("train"), num_samples))
    return [SweepPoint(1.0, bleu_of(words(task.codec, some), real))]


def _reads_text(task: Task, test: Trajectories) -> bool:
    return task.oracle() is None and test.prompts is None


def _of_samples(
    policy: Policy, task: Task, test: Trajectories, num_samples: int, seed: int, temperature: float
) -> dict[str, Estimate]:
    oracle = task.oracle()
    if oracle is not None:
        drawn = draw(policy, num_samples, seed, temperature=temperature)
        return {"nll_oracle": truth.nll_oracle(oracle, policy.space, drawn)}
    asked = head(test, num_samples)
    drawn = draw(policy, len(asked), seed, asked.prompts, temperature)
    scores = task.score(drawn, continuations(task, asked))
    return {name: mean_of(values_B) for name, values_B in scores.items()}


def summary(points: Sequence[SweepPoint], quality: Axis, diversity: Axis) -> dict[str, Any]:
    """What a sweep comes to.

    Returns:
        `best FIGURE`: the best value of both, each with its own multiplier, as papers print them;
        `best sum`: the least sum of both at one multiplier, where both are NLLs; no proper score;
        `equal temperature`: both at multiplier 1, where the sweep has it;
        `area`: of what the points dominate, of all that is better than the worst of both.
    """
    found: dict[str, Any] = {}
    for axis in (quality, diversity):
        best = min(points, key=axis.loss)
        value = best.figures[axis.figure].mean
        found[f"best {axis.figure}"] = {"value": value, "multiplier": best.multiplier}
    if quality.figure == "nll_oracle":
        best = min(points, key=lambda point: quality.loss(point) + diversity.loss(point))
        value = quality.loss(best) + diversity.loss(best)
        found["best sum"] = {"value": value, "multiplier": best.multiplier}
    for point in points:
        if point.multiplier == 1.0:
            found["equal temperature"] = {
                axis.figure: point.figures[axis.figure].mean for axis in (quality, diversity)
            }
    found["area"] = area(
        [(quality.loss(point), diversity.loss(point)) for point in points],
        (quality.limit, diversity.limit),
    )
    return found


def area(points: Sequence[tuple[float, float]], worst: tuple[float, float]) -> float:
    """The area of what some points dominate, up to the worst of both; lower is better in both."""
    total, lowest = 0.0, worst[1]
    for quality, diversity in sorted(points):
        if quality < worst[0] and diversity < lowest:
            total += (worst[0] - quality) * (lowest - diversity)
            lowest = diversity
    return total
