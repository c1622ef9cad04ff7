import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import SequenceEnv
from rubout.errors import UserError

A, B, C = 0, 1, 2
EOS, BACK = 3, 4


def make(**kwargs: Any) -> SequenceEnv:
    return SequenceEnv(**{"num_tokens": 3, "max_length": 4} | kwargs)


def play(env: SequenceEnv, *actions: int) -> Any:
    for action in actions:
        outcome = env.step(action)
    return outcome


@pytest.mark.parametrize(
    "kwargs", [{}, {"action_mask": True}, {"eos": False}, {"backspace": False}]
)
@pytest.mark.filterwarnings("error")
def test_check_env(kwargs: dict[str, Any]) -> None:
    check_env(gymnasium.make("envs:rubout/Sequence-v0", **kwargs).unwrapped)


def test_made_by_name_in_a_fresh_process_without_a_warning() -> None:
    code = (
        "import gymnasium\n"
        "env = gymnasium.make('envs:rubout/Sequence-v0', num_tokens=5, render_mode='ansi')\n"
        "many = gymnasium.make_vec('envs:rubout/Sequence-v0', num_envs=4, num_tokens=5,"
        " autoreset_mode='SameStep')\n"
        "env.reset(seed=1), many.reset(seed=1)\n"
        "env.step(env.action_space.sample()), many.step(many.action_space.sample())\n"
        "print(type(env.unwrapped).__name__, type(many).__name__, many.metadata['autoreset_mode'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.stdout, done.stderr) == (
        "SequenceEnv SequenceVectorEnv AutoresetMode.SAME_STEP\n",
        "",
    )


def test_a_sequence_with_a_mistake() -> None:
    env = make()
    env.reset()
    play(env, A, B, BACK, C)
    obs, reward, terminated, truncated, info = env.step(EOS)
    np.testing.assert_array_equal(obs["tokens"], [A, C, 0, 0])
    assert (obs["length"], obs["steps"]) == (2, 5)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info == {"can_type": True, "can_backspace": True, "forbidden": -1}


def test_ends_on_a_full_tape_without_eos() -> None:
    env = make(eos=False, max_length=2)
    env.reset()
    assert env.step(A)[2:4] == (False, False)
    assert env.step(B)[2:4] == (True, False)


def test_illegal_actions_change_nothing_but_the_count() -> None:
    env = make(max_length=1)
    env.reset()
    for steps, action in enumerate([BACK, -1, 99], start=1):
        obs, _, terminated, truncated, _ = env.step(action)
        assert (obs["length"], obs["steps"], terminated, truncated) == (0, steps, False, False)
    obs, _, _, truncated, info = play(env, A)
    assert truncated, "illegal actions count towards the limit"
    assert info["can_type"] is False


def test_a_token_on_a_full_tape_is_ignored() -> None:
    env = make(max_length=1, max_actions=9)
    env.reset()
    obs = play(env, B, C)[0]
    np.testing.assert_array_equal(obs["tokens"], [B])


def test_write_and_delete_for_ever_is_truncated() -> None:
    env = make(max_actions=6)
    env.reset()
    flags = [env.step(action)[2:4] for action in [A, BACK] * 3]
    assert flags == [(False, False)] * 5 + [(False, True)]


def test_eos_as_the_last_action_terminates() -> None:
    env = make(max_actions=2)
    env.reset()
    assert play(env, A, EOS)[2:4] == (True, False)


def test_the_prompt_cannot_be_rubbed_out() -> None:
    env = make()
    obs, info = env.reset(options={"prompt": [C, B]})
    assert (obs["length"], obs["steps"], info["can_backspace"]) == (2, 0, False)
    obs, _, _, _, info = play(env, A, BACK, BACK)
    np.testing.assert_array_equal(obs["tokens"], [C, B, 0, 0])
    assert info["can_backspace"] is False
    assert env.reset()[0]["length"] == 0, "a reset without a prompt has none"
    assert env.reset(options={"prompt": None, "prefix": None})[0]["length"] == 0


def test_forbid_redo_holds_for_one_action() -> None:
    env = make(forbid_redo=True, action_mask=True, max_actions=9)
    env.reset()
    info = play(env, B, BACK)[4]
    assert info["forbidden"] == B
    assert info["action_mask"].tolist() == [1, 0, 1, 1, 0]
    obs, _, _, _, info = env.step(B)
    assert (obs["length"], info["forbidden"]) == (0, -1)
    assert env.step(B)[0]["length"] == 1


def test_max_backspaces() -> None:
    env = make(max_backspaces=1)
    env.reset()
    obs, _, _, _, info = play(env, A, B, BACK, BACK)
    assert (obs["length"], info["can_backspace"]) == (1, False)


def test_prefix_is_typed_by_the_policy() -> None:
    env = make(step_penalty=1.0)
    obs, _ = env.reset(options={"prompt": [C], "prefix": [A, BACK, B]})
    np.testing.assert_array_equal(obs["tokens"], [C, B, 0, 0])
    assert (obs["length"], obs["steps"]) == (2, 3)
    obs, reward, _, _, info = env.step(BACK)
    assert (obs["length"], reward, info["can_backspace"]) == (1, -1.0, False)


@pytest.mark.parametrize(("prefix", "kwargs"), [([A, EOS], {}), ([A, B], {"max_actions": 2})])
def test_a_prefix_that_ends_the_episode(prefix: list[int], kwargs: dict[str, Any]) -> None:
    env = make(**kwargs)
    with pytest.raises(ValueError, match="ends the episode by itself"):
        env.reset(options={"prefix": prefix})
    with pytest.raises(ResetNeeded):
        env.step(A)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": [A]}, r"unknown reset option 'prompts' \(did you mean prompt\?\)"),
        ({"prompt": [A] * 4}, "a prompt of 4 tokens fills the tape of 4"),
        ({"prompt": [EOS]}, "a prompt holds ids that are not tokens"),
        ({"prefix": [BACK + 1]}, "a prefix holds ids that are not actions"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().reset(options=options)


def test_rewards_are_paid_with_the_last_action(rewards: Any) -> None:
    for name, expected in [("end", 0.25 * (A + B + EOS) + 3 * 8 + 64), ("action", 3 + 0.5 * 4)]:
        env = make(reward=rewards[name], step_penalty=0.5)
        env.reset()
        paid = [env.step(action)[1] for action in [A, B, EOS]]
        assert paid == [-0.5, -0.5, expected - 0.5]


def test_a_reward_of_another_shape() -> None:
    env = make(
        reward=lambda trajectories: trajectories.rewards_BT or trajectories.actions_BT[:, 1:]
    )
    env.reset()
    with pytest.raises(ValueError, match=r"returned shape \(1, 1\); expected \(1,\), or \(1, 2\)"):
        play(env, A, EOS)


def test_a_reward_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_plain_reward.py").write_text(
        "from dataclasses import dataclass\n"
        "from rubout.reward import Reward\n"
        "class Length(Reward):\n"
        "    @dataclass(frozen=True)\n"
        "    class Config:\n"
        "        scale: float = 2.0\n"
        "    def __init__(self, space, config, codec):\n"
        "        assert codec is None\n"
        "        self.scale = config.scale * space.max_length\n"
        "    def __call__(self, trajectories):\n"
        "        return trajectories.num_actions_B * self.scale\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make(reward="my_plain_reward:Length")
    env.reset()
    assert play(env, A, EOS)[1] == 2 * 2.0 * 4
    with pytest.raises(UserError, match="did you mean Length"):
        make(reward="my_plain_reward:Lengths")


def test_render_strikes_through_what_was_rubbed_out() -> None:
    letters = "".join
    env = make(render_mode="ansi", decode=lambda ids: letters("abc"[token] for token in ids))
    env.reset(options={"prompt": [C]})
    assert env.render() == "c"
    play(env, A, B, BACK, BACK, B, EOS)
    assert env.render() == "c\x1b[9mab\x1b[29mb"


@pytest.mark.parametrize(
    ("decode", "text"),
    [
        (None, "0 \x1b[9m1\x1b[29m 2"),
        (lambda ids: " ".join("abc"[token] for token in ids), "a \x1b[9mb\x1b[29m c"),
    ],
)
def test_render_keeps_the_space_between_words(decode: Any, text: str) -> None:
    env = make(render_mode="ansi", decode=decode)
    env.reset()
    play(env, A, B, BACK, C)
    assert env.render() == text


def test_render_without_a_mode_warns() -> None:
    env = make()
    env.reset()
    with pytest.warns(UserWarning, match="render_mode='ansi'"):
        assert env.render() is None
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        make(render_mode="human")


def test_stepping_outside_an_episode() -> None:
    env = make()
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step(A)
    env.reset()
    env.step(EOS)
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        env.step(A)


def test_mask_only_when_asked() -> None:
    with warnings.catch_warnings(action="error"):
        assert "action_mask" not in make().reset()[1]
    mask = make(action_mask=True).reset()[1]["action_mask"]
    assert (mask.dtype, mask.tolist()) == (np.int8, [1, 1, 1, 1, 0])
