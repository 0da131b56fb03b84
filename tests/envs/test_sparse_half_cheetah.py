"""SparseHalfCheetah: the rule of the reward, the observation's layout and the rules every environment follows."""

import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from sb3_infomax.envs import SPARSE_HALF_CHEETAH

mujoco = pytest.importorskip("mujoco")
STILL = np.zeros(6, dtype=np.float32)


@pytest.fixture
def env():
    env = gym.make(SPARSE_HALF_CHEETAH)
    env.reset(seed=0)
    yield env
    env.close()


def place_com(env, x, velocity=0.0):
    """Move the whole cheetah so that its centre of mass stands at ``x`` metres."""
    cheetah = env.unwrapped
    position, speeds = cheetah.data.qpos.copy(), np.zeros(cheetah.model.nv)
    position[0] += x - cheetah.x_com
    speeds[0] = velocity
    cheetah.set_state(position, speeds)


def test_it_passes_the_checks_of_gymnasium_and_of_sb3(env):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(infinity|symmetric|render).*")
        check_env(env.unwrapped, skip_render_check=True)
        check_env_sb3(env, skip_render_check=True)


def test_gymnasium_finds_it_by_module_and_id():
    env = gym.make(f"sb3_infomax.envs:{SPARSE_HALF_CHEETAH}")
    assert env.spec.max_episode_steps == 500
    env.close()


def test_importing_the_package_does_not_import_mujoco():
    code = "import sys, sb3_infomax.envs; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_missing_mujoco_is_one_sentence_with_the_remedy(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("gymnasium.envs.mujoco", "sb3_infomax.envs.sparse"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(
        gym.error.DependencyNotInstalled, match=r'^SparseHalfCheetah needs MuJoCo: pip install "sb3-infomax\[mujoco\]"\.$'
    ):
        gym.make(SPARSE_HALF_CHEETAH)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize(("distance", "reward"), [(4.99, 0.0), (5.01, 1.0), (7.0, 1.0)])
def test_reward_is_one_beyond_five_metres_on_either_side(env, side, distance, reward):
    place_com(env, side * distance)
    _, received, terminated, truncated, info = env.step(STILL)
    assert received == reward and not terminated and not truncated
    assert (abs(info["x_com"]) > 5.0) == bool(reward)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_boundary_itself_is_not_paid_and_the_next_float_is(env, side, monkeypatch):
    cheetah = env.unwrapped
    monkeypatch.setattr(cheetah, "_step_mujoco_simulation", lambda *_: None)
    cheetah.data.subtree_com[:, 0] = side * 5.0
    assert env.step(STILL)[1] == 0.0
    cheetah.data.subtree_com[:, 0] = side * np.nextafter(5.0, 6.0)
    assert env.step(STILL)[1] == 1.0


def test_reward_counts_where_the_step_ends_not_where_it_began(env):
    place_com(env, 4.99, velocity=3.0)  # 3 m/s for 0.01 s
    assert env.step(STILL)[1] == 1.0
    place_com(env, 5.01, velocity=-3.0)
    assert env.step(STILL)[1] == 0.0


def test_observation_is_positions_without_x_velocities_and_centre_of_mass(env):
    observation, *_ = env.step(env.action_space.sample())
    model, data = env.unwrapped.model, env.unwrapped.data
    mujoco.mj_forward(model, data)
    whole_body = data.xipos.T @ model.body_mass / model.body_mass.sum()
    np.testing.assert_allclose(observation, np.concatenate((data.qpos[1:], data.qvel, whole_body)), atol=1e-12)
    assert observation.shape == (20,)


def test_moving_along_the_track_changes_only_the_x_of_the_centre_of_mass(env):
    place_com(env, 0.0)
    before = env.unwrapped._get_obs()
    place_com(env, 3.0)
    np.testing.assert_allclose(env.unwrapped._get_obs() - before, 3.0 * np.eye(20)[17], atol=1e-12)


def test_episodes_last_five_seconds_and_never_terminate(env):
    for step in range(1, 501):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated and truncated == (step == 500)
    assert env.unwrapped.data.time == pytest.approx(5.0)


def test_body_is_that_of_rllab(env):
    model = env.unwrapped.model
    assert model.actuator_gear[:, 0].tolist() == [120, 90, 60, 120, 60, 30]
    assert model.actuator_ctrlrange.tolist() == [[-1, 1]] * 6
    assert model.dof_damping.tolist() == [0, 0, 0, 6, 4.5, 3, 4.5, 3, 1.5]
    assert model.jnt_stiffness.tolist() == [0, 0, 0, 240, 180, 120, 180, 120, 60]
    assert model.body_mass.sum() == pytest.approx(14.0)
    assert env.unwrapped.dt == model.opt.timestep == 0.01


def test_reset_noise_is_gaussian_of_the_papers_size(env):
    cheetah = env.unwrapped
    states = []
    for _ in range(400):
        env.reset()
        states.append(cheetah.state_vector())
    deviations = np.asarray(states) - np.concatenate((cheetah.init_qpos, cheetah.init_qvel))
    positions, velocities = deviations[:, :9], deviations[:, 9:]
    assert positions.std() == pytest.approx(0.01, rel=0.1) and velocities.std() == pytest.approx(0.1, rel=0.1)
    assert abs(positions).max() > 0.025  # beyond any uniform noise of that deviation


def test_same_seed_same_episode_and_another_seed_another_one():
    def episode(seed):
        env = gym.make(SPARSE_HALF_CHEETAH)
        env.action_space.seed(seed)
        observations = [env.reset(seed=seed)[0]] + [env.step(env.action_space.sample())[0] for _ in range(50)]
        return np.asarray(observations)

    np.testing.assert_array_equal(episode(1), episode(1))
    assert not np.allclose(episode(1), episode(2))


def test_random_actions_earn_nothing(env):
    for _ in range(5):
        env.reset()
        assert sum(env.step(env.action_space.sample())[1] for _ in range(500)) == 0.0


def test_a_copy_by_pickle_is_another_working_environment(env):
    copy = pickle.loads(pickle.dumps(env.unwrapped))
    first, _ = copy.reset(seed=3)
    np.testing.assert_array_equal(first, env.reset(seed=3)[0])


def test_making_it_is_silent_and_leaves_no_log_file(tmp_path):
    code = f"import gymnasium as gym; gym.make('sb3_infomax.envs:{SPARSE_HALF_CHEETAH}')"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
