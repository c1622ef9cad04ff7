from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from envs import SequenceVectorEnv
from rubout.types import ActionSpace, Sequences

A, B, C = 0, 1, 2
EOS, BACK = 3, 4


def make(num_envs: int = 2, **kwargs: Any) -> SequenceVectorEnv:
    return SequenceVectorEnv(num_envs, **{"num_tokens": 3, "max_length": 4} | kwargs)


def play(env: SequenceVectorEnv, *actions: list[int]) -> Any:
    for row in actions:
        outcome = env.step(torch.tensor(row))
    return outcome


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_make_vec(mode: str) -> None:
    env = gymnasium.make_vec("envs:rubout/Sequence-v0", num_envs=3, autoreset_mode=mode)
    assert isinstance(env, SequenceVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode(mode)
    obs, _ = env.reset(seed=1)
    assert env.observation_space.contains({key: value.numpy() for key, value in obs.items()})
    assert env.observation_space["tokens"].shape == (3, 32)
    assert gymnasium.make_vec("envs:rubout/Sequence-v0").num_envs == 1


def test_made_from_an_action_space() -> None:
    space = ActionSpace(5, 6, max_actions=7, backspace=True, forbid_redo=True, max_backspaces=2)
    assert SequenceVectorEnv(2, **asdict(space)).space == space


def test_frozen_rows(rewards: Any) -> None:
    env = make(3, autoreset_mode="Disabled", reward=rewards["end"], step_penalty=0.5, max_actions=4)
    env.reset()
    play(env, [A, B, C])
    play(env, [EOS, BACK, A])
    logged = env.episodes()
    obs, paid, terminated, truncated, _ = play(env, [B, A, A])
    assert terminated.tolist() == [True, False, False]
    assert paid.tolist() == [0.0, -0.5, -0.5]
    assert obs["steps"].tolist() == [2, 3, 3]
    assert env.keys.typed_B.tolist() == [False, True, True]
    assert env.over_B.tolist() == [True, False, False]
    play(env, [BACK, C, A])
    _, paid, terminated, truncated, _ = play(env, [EOS, EOS, EOS])
    assert (terminated.tolist(), truncated.tolist()) == ([True, False, False], [False, True, True])
    assert paid.tolist() == [0.0, 0.0, 0.0]
    episodes = env.episodes()
    assert episodes.actions_BT.tolist() == [[A, EOS, 0, 0], [B, BACK, A, C], [C, A, A, A]]
    assert episodes.num_actions_B.tolist() == [2, 4, 4]
    assert logged.actions_BT.tolist() == [[A, EOS], [B, BACK], [C, A]], "a copy"


@pytest.mark.parametrize("name", ["end", "action"])
def test_episodes(name: str, rewards: Any) -> None:
    env = make(autoreset_mode="Disabled", reward=rewards[name], step_penalty=0.5)
    env.reset(options={"prompt": [[C], []], "prefix": [[], [A]]})
    paid = torch.stack([play(env, actions)[1] for actions in ([A, EOS], [BACK, 0], [EOS, 0])], 1)
    assert env.over_B.all()
    log_probs = torch.tensor([[-1.0, -2.0, -3.0, 9.0], [-4.0, -5.0, 9.0, 9.0]])
    episodes = env.episodes(log_probs, policy_version=7)
    assert episodes.actions_BT.tolist() == [[A, BACK, EOS], [A, EOS, 0]]
    assert episodes.log_probs_BT.tolist() == [[-1.0, -2.0, -3.0], [-4.0, -5.0, 0.0]]
    assert episodes.terminated_B.tolist() == [True, True]
    assert episodes.policy_version_B.tolist() == [7, 7]
    assert episodes.prompts is not None
    assert episodes.prompts.lists() == [[C], []]
    assert episodes.rewards_BT is not None
    assert episodes.rewards_BT.sum(1).equal(paid.sum(1))
    expected = {
        "end": [[-0.5, -0.5, 0.25 * 7 + 24 + 64 + 512 - 0.5], [0, 0.25 * 3 + 16 + 64 - 0.5, 0]],
        "action": [[0.5, 2.5, 2.0], [1.0, 2.0, 0]],
    }
    assert episodes.rewards_BT.tolist() == expected[name]
    assert env.episodes(torch.full((2, 1), -1.0)).log_probs_BT.tolist() == [[-1, 0, 0]] * 2


def test_episodes_leave_out_what_there_is_not() -> None:
    env = make()
    env.reset()
    assert env.episodes().actions_BT.shape == (2, 0)
    play(env, [A, B])
    episodes = env.episodes()
    assert episodes.prompts is None
    assert episodes.rewards_BT is None


def test_same_step_restarts_with_the_prompt_without_the_prefix() -> None:
    env = make()
    env.reset(options={"prompt": Sequences.of([[A, B], [C]]), "prefix": [[C], []]})
    obs, _, terminated, _, info = play(env, [EOS, A])
    assert terminated.tolist() == [True, False]
    assert obs["tokens"].tolist() == [[A, B, 0, 0], [C, A, 0, 0]]
    assert obs["steps"].tolist() == [0, 1]
    assert info["_final_obs"].tolist() == [True, False]
    assert info["final_obs"]["tokens"][0].tolist() == [A, B, C, 0]
    assert info["final_info"]["can_backspace"].tolist() == [True, False]
    assert env.episodes().num_actions_B.tolist() == [0, 1]
    assert env.episodes().terminated_B.tolist() == [False, False]
    assert env.over_B.tolist() == [True, False]


def test_next_step_wastes_a_step() -> None:
    env = make(autoreset_mode="NextStep", step_penalty=1.0)
    env.reset(options={"prompt": [[A], [A]]})
    assert play(env, [EOS, A])[0]["steps"].tolist() == [1, 1]
    obs, paid, terminated, _, _ = play(env, [C, C])
    assert obs["tokens"].tolist() == [[A, 0, 0, 0], [A, A, C, 0]]
    assert (paid.tolist(), terminated.tolist()) == ([0.0, -1.0], [False, False])
    assert play(env, [B, B])[0]["tokens"].tolist() == [[A, B, 0, 0], [A, A, C, B]]
    assert env.episodes().actions_BT.tolist() == [[B, 0, 0], [A, C, B]]


def test_reset_mask() -> None:
    env = make(autoreset_mode="Disabled")
    env.reset(options={"prompt": [[A], [B]]})
    play(env, [EOS, C])
    mask = np.array([True, False])
    options = {"prompt": [[C, C], [A, A]], "reset_mask": mask}
    obs, info = env.reset(options=options)
    assert "reset_mask" in options, "the caller's options are left alone"
    assert obs["tokens"].tolist() == [[C, C, 0, 0], [B, C, 0, 0]]
    assert info["_can_type"].tolist() == [True, False]
    assert env.over_B.tolist() == [False, False]
    play(env, [BACK, BACK])
    assert env.tape.tokens_BL.tolist() == [[C, C, 0, 0], [B, 0, 0, 0]]
    prompts = env.episodes().prompts
    assert prompts is not None
    assert prompts.lists() == [[C, C], [B]]


def test_reset_mask_leaves_the_other_rows_alone() -> None:
    env = make(autoreset_mode="Disabled", forbid_redo=True, max_backspaces=1)
    env.reset(options={"prompt": [[A], [B]]})
    play(env, [C, C], [BACK, BACK])
    mask = torch.tensor([True, False])
    _, info = env.reset(options={"prefix": [[C], [EOS, EOS]], "reset_mask": mask})
    assert env.tape.tokens_BL.tolist() == [[C, 0, 0, 0], [B, 0, 0, 0]]
    assert env.legality.forbidden.tolist() == [-1, C]
    assert info["forbidden"].tolist() == [-1, 0], "0, as SyncVectorEnv, where there is no info"
    prompts = env.episodes().prompts
    assert prompts is not None
    assert prompts.lists() == [[], [B]]


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_nothing_is_left_of_the_last_episode(mode: str) -> None:
    env = make(1, autoreset_mode=mode, max_actions=2, forbid_redo=True, max_backspaces=1)
    env.reset()
    play(env, [A], [BACK])
    if mode == "NextStep":
        env.step(torch.tensor([A]))
    if mode == "Disabled":
        env.reset(options={"reset_mask": np.array([True])})
    assert env.legality.forbidden.tolist() == [-1]
    _, _, _, _, info = play(env, [A])
    assert info["can_backspace"].tolist() == [True]


def test_a_frozen_row_stays_terminated_at_the_action_limit() -> None:
    env = make(1, autoreset_mode="Disabled", max_actions=2)
    env.reset()
    for _, _, terminated, truncated, _ in (play(env, [A], [EOS]), play(env, [A])):
        assert (terminated.tolist(), truncated.tolist()) == ([True], [False])


def test_a_prefix_earns_nothing() -> None:
    env = make(1, step_penalty=1.0)
    env.reset()
    play(env, [A], [B])
    env.reset(options={"prefix": [[A]]})
    play(env, [B])
    rewards = env.episodes().rewards_BT
    assert rewards is not None
    assert rewards.tolist() == [[0.0, -1.0]]


def test_what_is_returned_is_a_copy() -> None:
    env = make(autoreset_mode="Disabled", output="numpy")
    obs, _ = env.reset()
    obs["tokens"][:] = 2
    obs, _, terminated, _, info = play(env, [A, EOS])
    assert obs["tokens"].sum() == 0
    terminated[:] = True
    obs["length"][:] = 3
    info["can_type"][:] = False
    obs, _, terminated, _, info = play(env, [B, B])
    assert terminated.tolist() == [False, True]
    assert obs["length"].tolist() == [2, 0]


def test_stock_wrappers() -> None:
    env = DictInfoToList(RecordEpisodeStatistics(make(output="numpy", step_penalty=1.0)))
    _, infos = env.reset(seed=3)
    assert [info["can_backspace"] for info in infos] == [False, False]
    infos = [env.step(np.array(actions))[4] for actions in ([A, A], [EOS, B], [A, EOS])]
    assert infos[1][0]["episode"]["r"] == -2.0
    assert infos[1][0]["final_obs"]["tokens"].tolist() == [A, 0, 0, 0]
    assert "episode" not in infos[1][1]
    assert (infos[2][1]["episode"]["r"], infos[2][1]["episode"]["l"]) == (-3.0, 3)


def test_render() -> None:
    env = make(render_mode="ansi", decode=lambda ids: "".join("abc"[token] for token in ids))
    env.reset(options={"prompt": [[C], []]})
    play(env, [A, B], [BACK, A], [B, C])
    assert env.render() == ("c\x1b[9ma\x1b[29mb", "bac")
    with pytest.warns(UserWarning, match="render_mode"):
        assert make().render() is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask": [True]}, ValueError, "unknown reset option 'mask'"),
        ({"prompt": [[A]]}, ValueError, r"options\['prompt'\] has 1 rows for 2 envs"),
        ({"prompt": [[A], [A] * 4]}, ValueError, "a prompt of 4 tokens fills the tape of 4"),
        ({"prompt": [[A], [EOS]]}, ValueError, "a prompt holds ids that are not tokens"),
        ({"prefix": [[], [BACK + 1]]}, ValueError, "a prefix holds ids that are not actions"),
        ({"prefix": [[A, A], [A, EOS]]}, ValueError, "the prefix of env 1 ends the episode"),
        ({"reset_mask": np.array([True])}, ValueError, r"must have shape \(2,\), got \(1,\)"),
        ({"reset_mask": np.array([False, False])}, ValueError, "at least one True"),
        ({"reset_mask": np.array([1, 0])}, TypeError, "bool array"),
        ({"reset_mask": [True, False]}, TypeError, "bool array"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    env = make()
    env.reset(options={"prompt": [[A], [B]]})
    with pytest.raises(error, match=message):
        env.reset(options=options)
    assert env.tape.tokens_BL[:, 0].tolist() == [A, B], "a refused reset changes nothing"


def test_bad_calls() -> None:
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        make().step(torch.tensor([A, A]))
    env = make()
    env.reset()
    with pytest.raises(ValueError, match="expected 2 integer actions"):
        env.step(torch.tensor([A]))
    with pytest.raises(ValueError, match="expected 2 integer actions"):
        env.step(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        make(0)
    with pytest.raises(ValueError, match="unknown output 'jax'"):
        make(output="jax")
    with pytest.raises(ValueError, match="Sometimes"):
        make(autoreset_mode="Sometimes")
    with pytest.raises(ValueError, match="unknown render_mode"):
        make(render_mode="human")
