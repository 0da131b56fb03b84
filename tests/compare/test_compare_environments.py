import gymnasium as gym
import numpy as np
import pytest

from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.compare import environments
from sb3_infomax.compare.algorithms import make_model
from sb3_infomax.compare.environments import OneHotGrid, find_spec, has_time_limit, make_vec_env, success_threshold
from sb3_infomax.compare.spec import RunSpec, UserError
from sb3_infomax.envs import PACMAN


@pytest.mark.parametrize(
    ("env_id", "space"),
    [
        ("CartPole-v1", gym.spaces.Box),
        ("CliffWalking-v1", gym.spaces.Discrete),
        ("PointMaze_UMaze-v3", gym.spaces.Dict),
        ("MiniGrid-Empty-5x5-v0", gym.spaces.Box),
        ("ALE/Pong-v5", gym.spaces.Box),
    ],
)
def test_any_id_becomes_an_environment(env_id, space):
    env = make_vec_env(env_id, 2, seed=0)
    assert isinstance(env.observation_space, space)
    env.reset()
    _, rewards, _, _ = env.step([env.action_space.sample() for _ in range(2)])
    assert rewards.shape == (2,)
    env.close()


def test_atari_gets_four_stacked_frames_and_skips_four_not_sixteen():
    env = make_vec_env("ALE/Pong-v5", 1, seed=0)
    assert env.observation_space.shape == (84, 84, 4)
    ale = env.get_attr("ale")[0]
    env.reset()
    before = ale.getEpisodeFrameNumber()
    env.step([0])
    assert ale.getEpisodeFrameNumber() - before == 4
    env.close()


def test_a_whole_game_goes_on_with_a_new_ball_after_a_lost_life():
    env = make_vec_env("ALE/Breakout-v5", 1, 0, {"repeat_action_probability": 0.0}, whole_games=True)
    env.reset()
    for _ in range(1000):  # 5 lives of some 30 steps each
        _, _, dones, infos = env.step([0])  # never fires by itself
        if dones[0]:
            break
    assert dones[0] and infos[0]["lives"] == 0
    env.close()


def test_one_hot_cells_name_object_colour_and_state():
    find_spec("MiniGrid-Empty-5x5-v0")  # registers the family
    env = OneHotGrid(gym.make("MiniGrid-Empty-5x5-v0"))
    image = np.zeros((7, 7, 3), np.uint8)
    image[0, 1] = (5, 4, 2)  # the second cell: a key, yellow, state 2
    code = env.observation({"image": image}).reshape(49, 20)
    assert (code.sum(1) == 3).all()
    assert np.flatnonzero(code[1]).tolist() == [5, 11 + 4, 11 + 6 + 2]


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("CartPol-v1", "did you mean CartPole-v1"),
        ("no_such_module:Env-v0", "Cannot import"),
        ("MiniGrid-Emty-5x5-v0", "MiniGrid-Empty"),
    ],
)
def test_unknown_ids_are_told_with_the_nearest(env_id, message):
    with pytest.raises(UserError, match=message):
        find_spec(env_id)


def test_a_missing_extra_is_told_with_its_pip_line(monkeypatch):
    monkeypatch.setattr(environments, "import_plugin", lambda package: False)
    monkeypatch.setattr(environments.gym, "registry", {})
    with pytest.raises(UserError, match=r"pip install 'sb3-infomax\[atari\]'"):
        find_spec("ALE/Pong-v5")


def test_a_wrong_setting_of_the_environment_is_told():
    with pytest.raises(UserError, match=r"CartPole-v1 cannot be made.*gravitas"):
        make_vec_env("CartPole-v1", 1, 0, {"gravitas": 1})


def test_time_limits_and_successes_are_known_by_family():
    assert not has_time_limit("CliffWalking-v1", {}) and has_time_limit("CliffWalking-v1", {"max_episode_steps": 9})
    assert has_time_limit("ALE/Pong-v5", {}) and has_time_limit("CartPole-v1", {})
    assert success_threshold("CartPole-v1") == 475 and success_threshold("CliffWalking-v1") is None
    assert 0 < success_threshold("MiniGrid-Empty-5x5-v0") < 1e-3


def test_wrappers_come_before_the_preprocessing_of_the_family():
    for env_id, n_actions in [("CartPole-v1", 2), ("MiniGrid-Empty-5x5-v0", 7), ("ALE/Pong-v5", 6)]:
        env = make_vec_env(env_id, 1, seed=0, wrappers=["useless_actions:n=3"])
        assert env.action_space.n == n_actions + 3
        env.reset()
        env.step([n_actions + 2])
        env.close()


def test_wrappers_are_named_by_class_and_nest_in_their_order():
    texts = ["gymnasium.wrappers:TimeLimit:max_episode_steps=2", "useless_actions:n=1"]
    env = make_vec_env("CartPole-v1", 1, seed=0, wrappers=texts)
    env.reset()
    assert env.action_space.n == 3
    assert [bool(env.step([0])[2][0]) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("env_id", "wrapper", "message"),
    [
        ("CartPole-v1", "useles_actions", "useless_actions"),
        ("CartPole-v1", "useless_actions:k=3", "cannot be made.*'k'"),
        ("Pendulum-v1", "useless_actions", "discrete actions"),
    ],
)
def test_wrappers_that_do_not_fit_are_told(env_id, wrapper, message):
    with pytest.raises(UserError, match=message):
        make_vec_env(env_id, 1, seed=0, wrappers=[wrapper])


@pytest.mark.parametrize("method", ["dqn", "c51", "driml:actions=none", "qrdqn", "ppo"])
def test_small_pictures_have_the_same_convolutions_whatever_the_algorithm(method):
    """Else DRIML would be compared with learners on flattened pixels."""
    kwargs = {"features_extractor_kwargs": {"features_dim": 16}}
    spec = RunSpec(PACMAN, method, 100, algo_kwargs={"policy_kwargs": kwargs})
    policy = make_model(spec, make_vec_env(PACMAN, 1, seed=0), video_game=False).policy
    extractor = (
        policy if method == "ppo" else getattr(policy, "quantile_net" if method == "qrdqn" else "q_net")
    ).features_extractor
    assert type(extractor) is LocalGlobalCNN and extractor.feature_shape == ((64, 4, 4), 16)
