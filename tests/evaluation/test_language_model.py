"""Both scores against the numbers they stand for, and against what they are there to tell."""

import math
from dataclasses import replace

import pytest
import torch

from rubout.evaluation.features import LanguageModelConfig, fit_language_model
from rubout.evaluation.language_model import (
    TITLES,
    fit_scorer,
    hold_out,
    lm_score,
    reverse_lm_score,
)
from rubout.evaluation.nll import log_likelihoods
from rubout.evaluation.references import ConstantPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

SPACE = ActionSpace(4, 3)
CONFIG = LanguageModelConfig(embedding=8, hidden=8, dropout=0.0, lr=0.02, epochs=8)


def random_rows(count: int, seed: int, below: int = 4) -> Sequences:
    """Three tokens each, uniform and independent."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(below, (count, 3), generator=generator)
    return Sequences(tokens, torch.full((count,), 3))


def test_the_score_by_hand() -> None:
    """1/2, 1/4 and 1/8 for tokens, 1/8 for the end; on a full tape the end costs nothing."""
    probs = torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125])
    scorer = ConstantPolicy(SPACE, probs.log())
    found = lm_score(scorer, Sequences.of([[0], [1, 0], [0, 0, 0]]))
    halves = (1 + 3) + (3 + 1 + 3) + (1 + 1 + 1)
    assert found.mean == pytest.approx(halves * math.log(2) / (2 + 3 + 4), rel=1e-6)
    assert found.count == 3


def test_the_protocol() -> None:
    """One split, one configuration and one seed: a scorer is what the split says it is.

    Few sequences, many passes: what is held out stops them long before the rest is known by heart.
    """
    config = replace(CONFIG, lr=0.05, epochs=60)
    rows = random_rows(50, 0)
    train, validation = hold_out(rows, config.held_out, seed=7)
    expected = fit_language_model(train, validation, SPACE, config, seed=7)
    scorer = fit_scorer(rows, SPACE, config, seed=7)
    for one, other in zip(expected.parameters(), scorer.parameters(), strict=True):
        assert one.equal(other)
    test = random_rows(20, 1)
    found = reverse_lm_score(rows, test, SPACE, config, seed=7)
    text = written(SPACE, test)
    total = -float(log_likelihoods(scorer, text).sum())
    assert found.mean == pytest.approx(total / (20 * 4), rel=1e-9)
    assert found.count == 20
    assert found == lm_score(scorer, test)


def test_what_each_score_tells() -> None:
    """Samples of half the tokens: as good as real ones, but not as diverse.

    Real text costs log 4 a token, and nothing for its end: 3/4 log 4 an action.
    """
    real, test = random_rows(1000, 0), random_rows(300, 1)
    poor = random_rows(1000, 2, below=2)
    limit = 0.75 * math.log(4)
    scorer = fit_scorer(real, SPACE, CONFIG)
    assert lm_score(scorer, poor).mean == pytest.approx(limit, abs=0.05)
    assert lm_score(scorer, test).mean == pytest.approx(limit, abs=0.05)
    assert reverse_lm_score(random_rows(1000, 3), test, SPACE, CONFIG).mean < limit + 0.05
    assert reverse_lm_score(poor, test, SPACE, CONFIG).mean > limit + 0.5


@pytest.mark.parametrize(
    ("count", "share", "held_out"), [(10, 0.1, 1), (10, 0.26, 3), (2, 0.1, 1), (2, 0.9, 1)]
)
def test_hold_out(count: int, share: float, held_out: int) -> None:
    """Every sequence is in one part, and the seed says in which."""
    rows = Sequences.of([[0] * number for number in range(count)])
    left, kept = hold_out(rows, share, seed=0)
    assert (len(left), len(kept)) == (count - held_out, held_out)
    assert sorted(map(len, left.lists() + kept.lists())) == list(range(count))
    assert hold_out(rows, share, seed=0)[1].lists() == kept.lists()
    others = [hold_out(rows, share, seed)[1].lists() for seed in range(1, 9)]
    assert any(other != kept.lists() for other in others)


def test_too_few() -> None:
    with pytest.raises(ValueError, match="two sequences or more, not 1"):
        fit_scorer(random_rows(1, 0), SPACE, CONFIG)


def test_titles() -> None:
    assert list(TITLES) == ["lm-score", "reverse-lm-score"]
    assert TITLES["reverse-lm-score"][2] == "low"
