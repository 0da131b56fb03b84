"""Grid worlds: hand-made maps, and that the arrays given to exact solvers are what ``step`` draws from."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from sb3_infomax.envs import CORRIDOR_3X20, POCKET_8X8, ROOM_7X7, TWO_ROOMS
from sb3_infomax.envs.grid_world import GridWorldEnv

UP, RIGHT, DOWN, LEFT, STAY = range(5)
HOOK = "...\n.#G"  # states 0 1 2 / 3 . 4


def make(layout=HOOK, **settings):
    env = GridWorldEnv(layout, **settings)
    env.reset(seed=0)
    return env


def step_from(env, state, action):
    env.state = state
    env.step(action)
    return env.state


@pytest.mark.parametrize("env_id", [ROOM_7X7, TWO_ROOMS, CORRIDOR_3X20, POCKET_8X8])
@pytest.mark.parametrize("observation", ["index", "one_hot", "coordinates"])
def test_registered_worlds_pass_the_checks_of_gymnasium_and_sb3(env_id, observation):
    env = gym.make(env_id, observation=observation)
    assert env.spec.max_episode_steps == 100
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped, skip_render_check=True)


def test_moves_on_a_map_by_hand():
    env = make(stay=True)
    table = [[step_from(env, state, action) for action in range(5)] for state in range(4)]
    assert table == [[0, 1, 3, 0, 0], [1, 2, 1, 0, 1], [2, 2, 4, 1, 2], [0, 3, 3, 3, 3]]


def test_the_goal_pays_ends_and_absorbs():
    env = make(step_reward=-1.0, goal_reward=9.0)
    env.state = 2
    assert env.step(DOWN)[1:3] == (9.0, True)
    env.state = 2
    assert env.step(LEFT)[1:3] == (-1.0, False)
    assert env.terminal.tolist() == [False] * 4 + [True]
    assert (env.transition_matrix()[:, 4, 4] == 1).all() and (env.reward_matrix()[:, 4] == 0).all()
    assert env.reward_matrix()[:, 2].tolist() == [-1, -1, 9, -1]


def test_worlds_of_mirl_are_the_published_ones():
    corridor, pocket = gym.make(CORRIDOR_3X20).unwrapped, gym.make(POCKET_8X8).unwrapped
    assert corridor.n_states == 18 and np.flatnonzero(corridor.terminal).tolist() == [corridor.state_of(1, 18)]
    assert pocket.n_states == 31 and np.flatnonzero(pocket.terminal).tolist() == [pocket.state_of(3, 5)]
    # the pocket opens to the right only
    enters = pocket.transition_matrix()[:, :, pocket.state_of(3, 5)]
    assert np.argwhere(enters[:, ~pocket.terminal]).tolist() == [[LEFT, pocket.state_of(3, 6) - 1]]
    assert corridor.reward_matrix().max() == 9 and corridor.reward_matrix().min() == -1


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stay": True, "slip": 0.3},
        {"stay": True, "slip": 0.4, "slip_kind": "perpendicular"},
        {"useless_actions": 2, "redundant_actions": 3, "redundant_to": RIGHT, "slip": 0.5, "step_reward": -1.0},
    ],
)
def test_step_samples_the_matrices(settings):
    env = make(**settings)
    transition, reward = env.transition_matrix(), env.reward_matrix()
    np.testing.assert_allclose(transition.sum(axis=2), 1.0)
    n = 4000
    for state in (1, 2):
        for action in range(env.action_space.n):
            counts, paid = np.zeros(env.n_states), 0.0
            for _ in range(n):
                env.state = state
                _, received, _, _, info = env.step(action)
                counts[info["state"]] += 1
                paid += received
            expected = transition[action, state]
            assert (counts[expected == 0] == 0).all()
            deviation = 4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-12
            assert (abs(counts / n - expected) <= deviation).all()
            assert paid / n == pytest.approx(reward[action, state], abs=0.08)


def test_uniform_slip_is_uniform_over_all_actions():
    centre = GridWorldEnv("...\n...\n...", stay=True, slip=0.2)
    row = centre.transition_matrix()[UP, 4]
    np.testing.assert_allclose(row[[1, 3, 4, 5, 7]], [0.84, 0.04, 0.04, 0.04, 0.04])
    with_noops = GridWorldEnv("...\n...\n...", useless_actions=4, slip=0.2)  # half of the eight actions stay
    np.testing.assert_allclose(with_noops.transition_matrix()[UP, 4][[1, 4]], [0.825, 0.1])


def test_perpendicular_slip_is_that_of_frozen_lake():
    lake = gym.make("FrozenLake-v1", desc=["SFFF", "FFFF", "FFFF", "FFFG"]).unwrapped
    ours = GridWorldEnv("....\n....\n....\n...G", slip=2 / 3, slip_kind="perpendicular").transition_matrix()
    for state in range(15):
        for theirs, action in enumerate([LEFT, DOWN, RIGHT, UP]):
            row = np.zeros(16)
            for probability, target, _, _ in lake.P[state][theirs]:
                row[target] += probability
            np.testing.assert_allclose(ours[action, state], row, atol=1e-12)


def test_staying_does_not_slip_sideways():
    matrix = GridWorldEnv("...\n...\n...", stay=True, slip=0.5, slip_kind="perpendicular").transition_matrix()
    np.testing.assert_array_equal(matrix[STAY], np.eye(9))


def test_useless_and_redundant_actions_are_appended():
    env = GridWorldEnv(HOOK, stay=True, useless_actions=2, redundant_actions=3, redundant_to=DOWN)
    matrix = env.transition_matrix()
    assert env.action_space.n == 10
    assert (matrix[[STAY, 5, 6]] == np.eye(5)).all() and (matrix[7:] == matrix[DOWN]).all()


@pytest.mark.parametrize(
    ("layout", "start", "states"), [(HOOK, None, {0, 1, 2, 3}), (".SG\nS..", None, {1, 3}), (HOOK, (1, 0), {3})]
)
def test_starts_are_uniform_over_what_is_marked_or_free(layout, start, states):
    env = GridWorldEnv(layout, start=start)
    env.reset(seed=1)
    found = np.bincount([env.reset()[1]["state"] for _ in range(2000)], minlength=env.n_states) / 2000
    assert {*np.flatnonzero(found)} == states
    np.testing.assert_allclose(found, env.start_distribution(), atol=0.05)


def test_observations_name_the_state():
    index, one_hot, place = (make(observation=kind).observations for kind in ("index", "one_hot", "coordinates"))
    assert index.tolist() == [0, 1, 2, 3, 4] and (one_hot == np.eye(5)).all()
    assert place.tolist() == [[-1, -1], [0, -1][::-1], [-1, 1], [1, -1], [1, 1]]
    image = make(observation="image", render_mode="rgb_array")
    assert len({picture.tobytes() for picture in image.observations}) == 5
    assert min(image.observation_space.shape[:2]) >= 36 and image.observation_space.dtype == np.uint8
    np.testing.assert_array_equal(image.render(), image.observations[image.state])


def test_pictures_feed_the_cnn_policy():
    env = gym.make(ROOM_7X7, observation="image")
    PPO("CnnPolicy", env, n_steps=16, batch_size=16, n_epochs=1).learn(16)
    DQN("MlpPolicy", gym.make(ROOM_7X7), learning_starts=8, buffer_size=32).learn(16)


def test_text_shows_the_walker():
    env = make(render_mode="ansi")
    env.state = 3
    assert env.render() == "...\nA#G"


def test_equal_seeds_give_equal_episodes():
    def states(seed):
        env = GridWorldEnv("room_7x7", slip=0.5)
        return [env.reset(seed=seed)[0]] + [env.step(k % 4)[0] for k in range(60)]

    assert states(1) == states(1) != states(2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"layout": "rom"}, "no layout 'rom': it is a map, or one of room_7x7"),
        ({"layout": "..\n..."}, "equally long, got lengths \\[2, 3\\]"),
        ({"layout": ".x\n.."}, "got \\['x'\\]"),
        ({"layout": "##\n#G"}, "needs a free cell to start on"),
        ({"slip": 1.5}, "between 0 and 1, got 1.5"),
        ({"slip_kind": "sideways"}, "slip_kind must be"),
        ({"useless_actions": -1}, "0 or more"),
        ({"redundant_actions": 1, "redundant_to": 4}, "from 0 to 3, got 4"),
        ({"start": (1, 1)}, "no free cell at row 1, column 1"),
        ({"start": (-1, 0)}, "no free cell at row -1"),
        ({"observation": "pixels"}, "observation must be"),
        ({"render_mode": "human"}, "render_mode must be"),
    ],
)
def test_what_is_no_world_is_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        GridWorldEnv(**{"layout": HOOK, **settings})
