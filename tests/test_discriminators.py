"""Networks that judge sequences: alone and in any company, and as a reward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rubout.checks import check_reward, random_logs
from rubout.discriminators import (
    FILTERS,
    Discriminator,
    DiscriminatorConfig,
    SequenceCNN,
    SequenceNetwork,
    build,
    prefix_features,
)
from rubout.discriminators import network as module
from rubout.tape import survivors
from rubout.types import ActionSpace, Sequences

KINDS = ("cnn", "lstm", "transformer")
WORDS, LENGTH = 11, 6
LENGTHS = [0, 1, 3, 5, 6, 6]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def network(kind: str, **options: object) -> SequenceNetwork:
    torch.manual_seed(0)
    config = DiscriminatorConfig(kind=kind, embedding=8, hidden=9, **options)  # type: ignore[arg-type]
    made = build(WORDS, LENGTH, config).eval()
    for name, parameter in made.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def sequences(seed: int = 1) -> Sequences:
    """Of all lengths, none at all among them."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BL = torch.randint(0, WORDS, (len(LENGTHS), LENGTH), generator=generator)
    made = Sequences(tokens_BL, torch.tensor(LENGTHS))
    return Sequences(tokens_BL.masked_fill(~made.mask_BL, 0), made.lengths_B)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beyond_the_end_is_not_read(kind: str) -> None:
    judge, given = network(kind), sequences()
    other_BL = torch.where(given.mask_BL, given.tokens_BL, (given.tokens_BL + 3) % WORDS)
    assert not other_BL.equal(given.tokens_BL)
    with torch.no_grad():
        expected = judge(given)
        assert expected.std() > 0.01
        assert expected.shape == (len(LENGTHS),)
        torch.testing.assert_close(judge(Sequences(other_BL, given.lengths_B)), expected, **CLOSE)
        wide = Sequences(functional.pad(other_BL[:, :3], (0, 1), value=5), given.lengths_B)[:3]
        torch.testing.assert_close(judge(wide), expected[:3], **CLOSE)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_alone_or_in_a_batch(kind: str, grad: bool) -> None:
    judge, given = network(kind), sequences()
    with torch.set_grad_enabled(grad):
        together = judge.features(given)
        assert together.shape == (len(LENGTHS), judge.num_features)
        for row, length in enumerate(LENGTHS):
            alone = Sequences(given.tokens_BL[row : row + 1, :length], given.lengths_B[[row]])
            torch.testing.assert_close(judge.features(alone)[0], together[row], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_and_place_counts(kind: str) -> None:
    judge, given = network(kind), sequences()
    full = given[4:5]
    with torch.no_grad():
        found = [float(judge(full))]
        for place in range(LENGTH):
            changed = full.tokens_BL.clone()
            changed[0, place] = (changed[0, place] + 1) % WORDS
            found.append(float(judge(Sequences(changed, full.lengths_B))))
        turned = Sequences(full.tokens_BL.flip(1), full.lengths_B)
        found.append(float(judge(turned)))
    apart = torch.tensor(found).sort().values.diff()
    assert len(apart) == LENGTH + 1
    assert float(apart.min()) > 1e-4


def test_the_official_filters() -> None:
    widths = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20]
    counts = [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160]
    assert FILTERS["official"] == tuple(zip(widths, counts, strict=True))
    assert FILTERS["small"] == ((2, 100), (3, 200))
    judge = build(WORDS, 20, DiscriminatorConfig(filters="official"))
    assert isinstance(judge, SequenceCNN)
    assert judge.num_features == 1720
    shapes = [tuple(layer.weight.shape) for layer in judge.convolutions]
    assert shapes == [(count, 64, width) for width, count in zip(widths, counts, strict=True)]
    shorter = build(WORDS, 12, DiscriminatorConfig(filters="official"))
    assert shorter.num_features == 1400, "filters wider than the sequences are left out"
    assert build(WORDS, 1, DiscriminatorConfig()).num_features == 100


def test_the_initialisation_is_that_of_the_seqgan_code() -> None:
    torch.manual_seed(0)
    judge = build(300, 20, DiscriminatorConfig(filters="official"))
    assert isinstance(judge, SequenceCNN)
    size = float(judge.embedding.weight.detach().abs().max())
    assert 0.99 < size <= 1, "uniform in [-1, 1]"
    for layer in [*judge.convolutions, judge.out]:
        assert layer.bias.eq(0.1).all()
        assert float(layer.weight.detach().abs().max()) <= 0.2
        # Of N(0, 0.1) cut off at two standard deviations.
        assert float(layer.weight.detach().std()) == pytest.approx(0.088, abs=0.004)


@pytest.mark.parametrize("at_a_time", [1, 4, 2048])
@pytest.mark.parametrize("kind", KINDS)
def test_features_of_prefixes_are_those_of_each_by_itself(
    kind: str, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PREFIXES_AT_A_TIME", at_a_time)
    judge, given = network(kind), sequences()
    tokens_BL = torch.where(given.mask_BL, given.tokens_BL, 7)
    found = prefix_features(judge, tokens_BL, given.lengths_B)
    assert found.shape == (len(LENGTHS), LENGTH + 1, judge.num_features)
    assert not found.requires_grad
    for row, length in enumerate(LENGTHS):
        for kept in range(LENGTH + 1):
            alone = Sequences.of([given.tokens_BL[row, : min(kept, length)].tolist()])
            expected = judge.features(alone).detach()[0]
            torch.testing.assert_close(found[row, kept], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "space",
    [ActionSpace(5, 6), ActionSpace(5, 6, eos=False), ActionSpace(5, 4, backspace=True)],
    ids=["eos", "full", "backspace"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_as_a_reward(kind: str, space: ActionSpace) -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(kind=kind, embedding=8, hidden=8)  # type: ignore[arg-type]
    judge = Discriminator(space, config).eval()
    check_reward(judge, space)
    assert {name.split(".")[0] for name in judge.state_dict()} == {"network"}


def test_a_verdict_is_the_probability_of_what_was_left_on_the_tape() -> None:
    space = ActionSpace(5, 4, backspace=True)
    torch.manual_seed(0)
    judge = Discriminator(space, DiscriminatorConfig(embedding=8)).eval()
    logs = random_logs(space, 20, 0, with_prompts=True)
    with torch.no_grad():
        logits = judge.network(survivors(space, logs))
        assert judge.logits(logs).equal(logits)
        torch.testing.assert_close(judge(logs), 1 / (1 + (-logits).exp()))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_on_while_training_and_off_otherwise(kind: str) -> None:
    judge, given = network(kind, dropout=0.5), sequences()
    with torch.no_grad():
        assert judge(given).equal(judge(given))
        judge.train()
        assert not judge(given).equal(judge(given))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": 0}, "at least 1"),
        ({"hidden": 0}, "at least 1"),
        ({"layers": 0}, "at least 1"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout in \[0, 1\)"),
        ({"kind": "transformer", "embedding": 10}, "a multiple of its 4 heads"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        DiscriminatorConfig(**options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_an_embedding_of_any_width_will_do_without_heads() -> None:
    for kind in ("cnn", "lstm"):
        assert build(3, 2, DiscriminatorConfig(kind=kind, embedding=10))  # type: ignore[arg-type]
