"""Wrong tokens that a writer could plausibly have typed."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from rubout.tasks.arithmetic import Arithmetic
from rubout.tasks.text import Text

LEAST, MOST = 0.0, 1 - 2**-24  # of what is uniform on [0, 1)


@pytest.fixture(scope="module")
def arithmetic() -> Arithmetic:
    return Arithmetic(Arithmetic.Config(train=300, validation=5, test=5))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    path: Path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("".join(f"a b a {'c ' * (line % 4)}d\n" for line in range(40)))
    return Text(Text.Config(path=path))


def test_digits_of_the_questions_base(arithmetic: Arithmetic) -> None:
    data = arithmetic.split("train")
    assert data.prompts is not None
    # Both ends, and some numbers between; the columns need not be those of the actions.
    between = (torch.arange(96) + 0.5) / 96
    uniforms = torch.cat([torch.tensor([LEAST, MOST]), between]).repeat(len(data), 1)
    slips = arithmetic.slips(data, uniforms)
    assert slips.dtype == torch.int64
    assert slips.shape == uniforms.shape
    bases = set()
    for prompt, row in zip(data.prompts.lists(), slips.tolist(), strict=True):
        match = re.match(r"In base (\d+),", arithmetic.codec.decode(prompt))
        assert match
        base = int(match[1])
        typed = [arithmetic.codec.decode([token]) for token in row]
        digits = "0123456789abcdef"[:base]
        assert set(typed) == set(digits)
        assert typed[0] == "0"
        assert typed[1] == digits[-1], "no number below 1 is a digit too many"
        counts = Counter(typed[2:])
        assert max(counts.values()) - min(counts.values()) <= 1, "each as likely as the other"
        bases.add(base)
    assert bases == set(range(2, 17))


def test_the_default_is_a_token_of_the_training_text(text: Text) -> None:
    train = text.split("train")
    tokens = train.actions_BT[train.mask_BT & (train.actions_BT != text.space.eos_id)]
    places = (torch.arange(len(tokens)) + 0.5) / len(tokens)
    held = text.split("validation")
    slips = text.slips(held, places.unsqueeze(0))
    assert Counter(slips[0].tolist()) == Counter(tokens.tolist()), "as often as in the text"
    ends = text.slips(held, torch.tensor([[LEAST], [MOST]]))
    assert ends.tolist() == [[int(tokens[0])], [int(tokens[-1])]]
    assert int(slips.max()) < text.space.num_tokens
