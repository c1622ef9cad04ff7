"""Sums and differences in any base: exact answers, so an attempt is right or wrong.

The sub-task `arithmetic__add_or_sub_in_base` of DeepMind's mathematics dataset (Saxton et al. 2019,
arXiv:1904.01557), on which SequenceMatch (Cundy and Ermon 2023, arXiv:2306.05426) is tested. The
base is uniform on 2..16; an entropy, in decimal digits, is uniform on [3, 10] and split between the
operands, each then uniform on its range of either sign. The question is the prompt, which cannot be
rubbed out; the answer and `<eos>` are what the expert types.

Deviation: the random streams are Python's own, not those of the original program, and held-out
questions that occur in an earlier split are drawn again.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rubout.errors import UserError
from rubout.tape import survivors, written
from rubout.task import Split, Task
from rubout.tasks.codecs import CharCodec
from rubout.types import ActionSpace, Sequences, Trajectories

CHARACTERS = " +,-?0123456789Iabcdefhinstw"
_DIGITS = "0123456789abcdef"
_BEFORE_BASE = "In base "
_MIN_ENTROPY = 1.0  # of one operand
_LARGEST_ENTROPY = 18  # keeps a question and its answer to some 150 characters
_PATIENCE = 100  # draws in vain for one new question, before there seem to be too few


@dataclass(frozen=True)
class ArithmeticConfig:
    """Options of the task `arithmetic`."""

    train: int = 5000
    """Training questions."""
    validation: int = 500
    """Validation questions, none of which occurs in training."""
    test: int = 2000
    """Test questions, none of which occurs in training."""
    seed: int = 0
    """Which questions."""
    smallest_base: int = 2
    """Bases from here."""
    largest_base: int = 16
    """Bases up to here; 16 at most."""
    least_entropy: float = 3.0
    """Decimal digits of both operands together, at least."""
    most_entropy: float = 10.0
    """And at most; the published task has 3 to 10."""


_PUBLISHED = ArithmeticConfig()


class Arithmetic(Task):
    """`In base 7, what is -15 + 4?` and its answer, character by character."""

    Config = ArithmeticConfig

    def __init__(self, config: ArithmeticConfig) -> None:
        """Draw the questions of all splits.

        Raises:
            UserError: a split is empty, or there are no such questions.
        """
        if not 2 <= config.smallest_base <= config.largest_base <= len(_DIGITS):
            raise UserError(
                f"arithmetic knows the bases 2 to 16: not {config.smallest_base} to "
                f"{config.largest_base} (task.smallest-base, task.largest-base)"
            )
        if not 0 < config.least_entropy <= config.most_entropy <= _LARGEST_ENTROPY:
            raise UserError(
                f"task.least-entropy and task.most-entropy must be above 0, in this order, and at "
                f"most {_LARGEST_ENTROPY}: not {config.least_entropy:g} and "
                f"{config.most_entropy:g}"
            )
        # Validation last: its size moves neither of the others.
        sizes: dict[Split, int] = {
            "train": config.train,
            "test": config.test,
            "validation": config.validation,
        }
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"arithmetic needs at least one {name} question, not {size}")
        self.config = config
        self.codec: CharCodec = CharCodec(CHARACTERS)
        self.space = ActionSpace(len(CHARACTERS), longest_text(config))
        seen: set[str] = set()
        self._splits: dict[Split, tuple[Sequences, Sequences]] = {}
        for name, size in sizes.items():
            rng = random.Random(f"arithmetic/{config.seed}/{name}")
            pairs = _draw(rng, config, size, seen)
            seen.update(question for question, _ in pairs)
            questions, answers = (
                Sequences.of([self.codec.encode(text) for text in texts])
                for texts in zip(*pairs, strict=True)
            )
            self._splits[name] = questions, answers

    def split(self, name: Split) -> Trajectories:
        """Questions as prompts, and the answers as an expert types them."""
        questions, answers = self._splits[name]
        return written(self.space, answers, questions)

    def slips(self, trajectories: Trajectories, uniforms_BT: Tensor) -> Tensor:
        """A digit of the question's base, each as likely as the other."""
        assert trajectories.prompts is not None
        value_V = torch.full((self.space.num_tokens,), -1)
        value_V[self.codec.encode(_DIGITS[:10])] = torch.arange(10)
        at = len(_BEFORE_BASE)
        first_B, second_B = value_V[trajectories.prompts.tokens_BL[:, at : at + 2]].unbind(1)
        base_B = torch.where(second_B >= 0, 10 * first_B + second_B, first_B)
        digits = torch.tensor(self.codec.encode(_DIGITS))
        return digits[(uniforms_BT * base_B.unsqueeze(1)).long()]

    def answers(self, name: Split) -> Sequences:
        """The answers of one split, without `<eos>`."""
        return self._splits[name][1]

    def score(self, trajectories: Trajectories, answers: Sequences) -> dict[str, Tensor]:
        """Which attempts left exactly the answer behind the question.

        Args:
            trajectories: one attempt at each question, with or without backspaces.
            answers: the right answers, in the same order.

        Returns:
            `exact_match`: float32 [B], 1 or 0.
        """
        assert trajectories.prompts is not None, "attempts carry their questions as prompts"
        assert len(trajectories) == len(answers) > 0, "one answer for each attempt"
        # The run may have a backspace; where it has none, the id never occurs.
        left = survivors(replace(self.space, backspace=True), trajectories).lists()
        starts = trajectories.prompts.lengths_B.tolist()
        matches = [
            row[start:] == answer
            for row, start, answer in zip(left, starts, answers.lists(), strict=True)
        ]
        return {"exact_match": torch.tensor(matches, dtype=torch.float32)}


def draw_question(rng: random.Random, config: ArithmeticConfig = _PUBLISHED) -> tuple[str, str]:
    """One question and its answer, as the dataset's generator draws them."""
    entropy = rng.uniform(config.least_entropy, config.most_entropy)
    share = rng.uniform(0, entropy)
    first = _draw_operand(rng, max(_MIN_ENTROPY, share))
    second = _draw_operand(rng, max(_MIN_ENTROPY, entropy - share))
    base = rng.randint(config.smallest_base, config.largest_base)
    sign = rng.choice("+-")
    answer = first + second if sign == "+" else first - second
    left, right = in_base(first, base), in_base(second, base)
    return f"{_BEFORE_BASE}{base}, what is {left} {sign} {right}?", in_base(answer, base)


def in_base(value: int, base: int) -> str:
    """An integer in lower-case digits, after a minus sign where it is negative."""
    digits = ""
    rest = abs(value)
    while rest or not digits:
        rest, digit = divmod(rest, base)
        digits = _DIGITS[digit] + digits
    return f"-{digits}" if value < 0 else digits


def longest_text(config: ArithmeticConfig = _PUBLISHED) -> int:
    """Characters that hold every question with its answer.

    The smallest base needs the most digits. One operand of all the entropy needs the most, because
    the other still has its least.
    """
    bounds = [_largest(max(config.most_entropy, _MIN_ENTROPY)), _largest(_MIN_ENTROPY)]
    operands = [len(in_base(-bound, config.smallest_base)) for bound in bounds]
    answer = len(in_base(-sum(bounds), config.smallest_base))
    return len(f"{_BEFORE_BASE}{config.largest_base}, what is  + ?") + sum(operands) + answer


def _largest(entropy: float) -> int:
    """The bound of a signed integer of this entropy: 10 ** entropy values in all."""
    return math.ceil(10**entropy / 2)


def _draw_operand(rng: random.Random, entropy: float) -> int:
    bound = _largest(entropy)
    return rng.randint(-bound, bound)


def _draw(
    rng: random.Random, config: ArithmeticConfig, size: int, taken: set[str]
) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    in_vain = 0
    while len(pairs) < size:
        question, answer = draw_question(rng, config)
        if question not in taken:
            pairs.append((question, answer))
            in_vain = 0
            continue
        in_vain += 1
        if in_vain > _PATIENCE:
            raise UserError(
                "arithmetic: there are too few such questions for so many: fewer task.train, or "
                "a larger task.most-entropy"
            )
    return pairs
