"""The vectorised env equals stock SyncVectorEnv over the reference env, and the tape both."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import SequenceEnv, SequenceVectorEnv
from rubout.tape import replay, survivors

MODES = list(AutoresetMode)


class Prompted(gymnasium.Wrapper):
    """Always resets with its own prompt; with its prefix only when somebody asks for a reset."""

    def __init__(self, env: gymnasium.Env, prompt: list[int] | None, prefix: list[int]) -> None:
        super().__init__(env)
        self.options = {} if prompt is None else {"prompt": prompt}
        self.prefix = prefix

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        asked = {} if options is None else {"prefix": self.prefix}
        return self.env.reset(seed=seed, options=self.options | asked)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    num_tokens = draw(st.integers(1, 3))
    length = draw(st.integers(1, 4))
    env = {
        "num_tokens": num_tokens,
        "max_length": length,
        "max_actions": draw(st.none() | st.integers(1, 9)),
        "eos": draw(st.booleans()),
        "backspace": draw(st.booleans() | st.just(True)),
        "forbid_redo": num_tokens > 1 and draw(st.booleans()),
        "max_backspaces": draw(st.none() | st.integers(0, 2)),
        "step_penalty": draw(st.sampled_from([0.0, 0.25])),
        "action_mask": draw(st.booleans()),
    }
    size = num_tokens + env["eos"] + env["backspace"]
    rows = draw(st.integers(1, 3))
    token = st.integers(0, num_tokens - 1)
    # Backspaces twice, and what is no action at all, so that the rare is not too rare.
    action = st.integers(-1, size) | token | st.just(size - 1)
    prompts = st.lists(st.lists(token, max_size=length - 1), min_size=rows, max_size=rows)
    prefix = st.lists(st.integers(0, size - 1), max_size=2)
    return {
        "env": env,
        "reward": draw(st.sampled_from(["none", "end", "action"])),
        "prompts": draw(st.none() | prompts),
        "prefixes": draw(st.none() | st.lists(prefix, min_size=rows, max_size=rows)),
        "actions": draw(
            st.lists(st.lists(action, min_size=rows, max_size=rows), min_size=1, max_size=14)
        ),
        "rows": rows,
    }


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert set(one) == set(other)
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        np.testing.assert_array_equal(one, other, strict=isinstance(one, np.ndarray))


def assert_same_step(one: Any, other: Any) -> None:
    """SyncVectorEnv keeps rewards in float64."""
    assert other[1].dtype == np.float32
    assert_same({"obs": one[0], "info": one[4]}, {"obs": other[0], "info": other[4]})
    for left, right in zip(one[1:4], other[1:4], strict=True):
        np.testing.assert_array_equal(left, right)


def assert_on_the_tape(env: SequenceVectorEnv) -> None:
    """What the env holds is what its log, replayed, leaves."""
    episodes = env.episodes()
    left = survivors(env.space, episodes)
    assert left.tokens_BL.equal(env.tape.tokens_BL)
    assert left.lengths_B.equal(env.tape.length_B)
    legality = replay(env.space, episodes).legality_BS
    assert legality.token[:, -1].equal(env.legality.token)
    assert legality.backspace[:, -1].equal(env.legality.backspace)
    assert legality.forbidden[:, -1].equal(env.legality.forbidden)


@pytest.mark.parametrize("mode", MODES, ids=str)
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_equals_the_reference(mode: AutoresetMode, case: dict[str, Any], rewards: Any) -> None:
    kwargs = case["env"] | {"reward": rewards[case["reward"]]}
    env = SequenceVectorEnv(case["rows"], **kwargs, autoreset_mode=mode, output="numpy")
    prompts = case["prompts"] or [None] * case["rows"]
    prefixes = case["prefixes"] or [[]] * case["rows"]
    sync = SyncVectorEnv(
        [
            lambda row=row: Prompted(SequenceEnv(**kwargs), prompts[row], prefixes[row])
            for row in range(case["rows"])
        ],
        autoreset_mode=mode,
    )
    options = {"prompt": case["prompts"], "prefix": case["prefixes"]}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        expected = sync.reset(seed=0, options={})
    except ValueError:
        with pytest.raises(ValueError, match="ends the episode"):
            env.reset(seed=0, options=options)
        return
    assert_same(expected, env.reset(seed=0, options=options))
    for actions in case["actions"]:
        expected = sync.step(np.array(actions))
        given = env.step(np.array(actions))
        assert_same_step(expected, given)
        assert env.observation_space.contains(given[0])
        over = given[2] | given[3]
        if mode is AutoresetMode.DISABLED and over.any():
            assert_on_the_tape(env)
            again = sync.reset(options={"reset_mask": over})
            assert_same(again, env.reset(options=options | {"reset_mask": over}))
    assert_on_the_tape(env)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_torch_equals_numpy(mode: AutoresetMode, rewards: Any) -> None:
    kwargs = {
        "num_tokens": 2,
        "max_length": 3,
        "action_mask": True,
        "reward": rewards["action"],
        "autoreset_mode": mode,
    }
    ours = SequenceVectorEnv(5, **kwargs)
    stock = SequenceVectorEnv(5, **kwargs, output="numpy")
    ours.reset(), stock.reset()
    for actions in torch.randint(0, 4, (30, 5), generator=torch.Generator().manual_seed(0)):
        one, other = ours.step(actions), stock.step(actions.numpy())
        final, final_obs = one[4].pop("_final_obs", None), one[4].pop("final_obs", None)
        one[4].pop("final_info", None), one[4].pop("_final_info", None)
        rows = other[4].pop("final_obs", [None] * 5)
        over = other[2] | other[3]
        if mode is AutoresetMode.SAME_STEP:
            np.testing.assert_array_equal(final, over)
            for row in np.flatnonzero(over):
                assert_same(
                    rows[row], {key: value[row].numpy() for key, value in final_obs.items()}
                )
        for key in ("_final_obs", "final_info", "_final_info"):
            other[4].pop(key, None)
        as_numpy = {"obs": one[0], "info": one[4]}
        for part in as_numpy.values():
            assert all(isinstance(value, torch.Tensor) for value in part.values())
            part.update({key: value.numpy() for key, value in part.items()})
        assert_same(as_numpy, {"obs": other[0], "info": other[4]})
        for left, right in zip(one[1:4], other[1:4], strict=True):
            np.testing.assert_array_equal(left, right)
