"""Procgen: what episodes, levels and infos look like on the real thing, and the original's gaps on a stand-in for it."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from toys import Call

from sb3_infomax import AuxiliaryLoss, AuxiliaryModule, IntrinsicReward, IntrinsicVecEnv
from sb3_infomax.compare.algorithms import algorithm_settings
from sb3_infomax.compare.check import tally
from sb3_infomax.compare.environments import has_time_limit, is_video_game, make_vec_env
from sb3_infomax.compare.spec import Part, RunSpec, UserError
from sb3_infomax.compare.worker import default_n_envs
from sb3_infomax.envs.procgen import ProcgenEnv
from sb3_infomax.vec_env import procgen
from sb3_infomax.vec_env.procgen import MODES, TIME_LIMITS, make_procgen


def envpool_runs():
    try:
        return procgen._available_backend() == "envpool"
    except ImportError:
        return False


real = pytest.mark.skipif(not envpool_runs(), reason="EnvPool or its Qt 5 is not installed")
FORWARD = (7, 8)  # right, and right with a jump


def play(env, n_steps, seed=0, actions=FORWARD):
    """Observations, rewards and dones over time, and the infos of all ends: (step, environment, info)."""
    random = np.random.default_rng(seed)
    observations, rewards, dones, ends = [env.reset()], [], [], []
    for step in range(n_steps):
        observation, reward, done, infos = env.step(random.choice(actions, env.num_envs))
        observations.append(observation)
        rewards.append(reward)
        dones.append(done)
        ends += [(step, index, infos[index]) for index in np.flatnonzero(done)]
    return np.stack(observations), np.stack(rewards), np.stack(dones), ends


@pytest.fixture
def coinrun():
    env = make_procgen("coinrun", 8, seed=3, num_levels=5, num_threads=1)
    yield env
    env.close()


@real
@pytest.mark.parametrize("game", TIME_LIMITS)
def test_every_game_runs_in_every_mode_it_has(game):
    for mode in [mode for mode, games in MODES.items() if game in games]:
        env = make_procgen(game, 2, seed=0, distribution_mode=mode, num_threads=1)
        assert env.reset().shape == (2, 64, 64, 3) and env.action_space.n == 15
        observations, rewards, dones, _ = env.step(np.array([4, 7]))
        assert observations.dtype == np.uint8 and rewards.shape == dones.shape == (2,)
        env.close()


@real
def test_a_seed_fixes_everything_whatever_the_threads(coinrun):
    runs = [play(coinrun, 120), play(make_procgen("coinrun", 8, seed=3, num_levels=5, num_threads=2), 120)]
    for one, other in zip(runs[0][:3], runs[1][:3], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(runs[0][0][0], make_procgen("coinrun", 8, seed=4, num_levels=5).reset())


@real
def test_seeding_begins_anew_and_another_reset_goes_on(coinrun):
    first = play(coinrun, 20)[0]
    assert not np.array_equal(first[0], coinrun.reset())
    coinrun.seed(3)
    np.testing.assert_array_equal(first, play(coinrun, 20)[0])
    coinrun.seed(4)
    np.testing.assert_array_equal(coinrun.reset(), make_procgen("coinrun", 8, seed=4, num_levels=5).reset())


@real
def test_the_terminal_observation_is_the_last_frame_of_the_level_that_ended(coinrun):
    """It resembles the frame before it, as frames of one level do, and not the first one of the next level."""
    observations, _, _, ends = play(coinrun, 200)
    frames = observations.astype(np.float32)
    before, after = [], []
    for step, index, info in ends:
        terminal = info["terminal_observation"]
        before.append(np.abs(terminal - frames[step, index]).mean())
        after.append(np.abs(terminal - frames[step + 1, index]).mean())
    assert len(ends) > 10 and 0 < np.mean(before) < 0.5 * np.mean(after)


@real
def test_observations_terminals_rewards_and_ends_are_envpools_own(coinrun):
    """Stepped by itself, EnvPool spends one more step on each reset."""
    import envpool

    observations, rewards, _, ends = play(coinrun, 150)
    raw = envpool.make(
        "CoinrunEasy-v0", env_type="gymnasium", num_envs=8, seed=3, num_levels=5, channel_first=False, num_threads=1
    )
    frames = raw.reset()[0]
    np.testing.assert_array_equal(frames, observations[0])
    random = np.random.default_rng(0)
    first_end = min(step for step, *_ in ends)
    for step in range(first_end + 1):
        frames, reward, *_ = raw.step(random.choice(FORWARD, 8))
        np.testing.assert_array_equal(reward, rewards[step])
    for index, info in [(index, info) for step, index, info in ends if step == first_end]:
        np.testing.assert_array_equal(info["terminal_observation"], frames[index])


@real
def test_returns_and_lengths_of_episodes_are_the_sums_of_what_was_paid(coinrun):
    _, rewards, dones, ends = play(coinrun, 200)
    for step, index, info in ends:
        begin = np.flatnonzero(dones[:step, index]).max(initial=-1) + 1
        assert info["episode"]["r"] == rewards[begin : step + 1, index].sum()
        assert info["episode"]["l"] == step + 1 - begin
    assert {info["episode"]["r"] for *_, info in ends} == {0.0, 10.0}
    assert all(info["is_success"] == (info["episode"]["r"] == 10.0) for *_, info in ends)


@real
def test_levels_come_from_the_set_that_was_asked_for():
    env = make_procgen("coinrun", 8, seed=0, start_level=20, num_levels=3)
    _, _, _, ends = play(env, 150)
    assert {info["level_seed"] for *_, info in ends} == {20, 21, 22}
    assert {info["level_seed"] for info in env.unwrapped.reset_infos} <= {20, 21, 22}
    assert len({info["level_seed"] for info in unlimited_infos()}) == 16


def unlimited_infos():
    env = make_procgen("coinrun", 16, seed=0)
    env.reset()
    return env.unwrapped.reset_infos


@real
def test_the_info_of_an_end_names_the_level_that_ended(coinrun):
    levels = np.full(8, -1)
    coinrun.reset()
    levels[:] = [info["level_seed"] for info in coinrun.unwrapped.reset_infos]
    random, n_ends = np.random.default_rng(0), 0
    for _ in range(150):
        _, _, dones, infos = coinrun.step(random.choice(FORWARD, 8))
        assert [info["level_seed"] for info in infos] == levels.tolist()
        n_ends += dones.sum()
        levels[dones] = [coinrun.unwrapped.reset_infos[index]["level_seed"] for index in np.flatnonzero(dones)]
    assert n_ends > 8


@real
def test_the_time_limit_is_told_from_a_failure():
    """Who stands still in the maze stands there until its time is up; who runs in coinrun dies or wins."""
    env = make_procgen("maze", 1, seed=0)
    _, _, dones, ends = play(env, 500, actions=(4,))
    assert dones.sum() == 1 and ends[0][0] == 499 and ends[0][2]["TimeLimit.truncated"]
    assert not any(info["TimeLimit.truncated"] for *_, info in play(make_procgen("coinrun", 8, seed=0), 100)[3])


@real
@pytest.mark.parametrize(
    "settings", [{"distribution_mode": "hard"}, {"use_backgrounds": False}, {"start_level": 7}, {"paint_vel_info": True}]
)
def test_settings_change_the_picture(settings):
    plain, changed = (make_procgen("coinrun", 2, seed=0, **{"num_levels": 1, **kwargs}).reset() for kwargs in ({}, settings))
    assert not np.array_equal(plain, changed)


@real
@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_a_bonus_is_paid_on_every_transition_ends_included(algorithm, recwarn):
    env = make_procgen("coinrun", 4, seed=0, num_levels=5)
    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 1} if algorithm is PPO else {"learning_starts": 100}
    settings |= {"buffer_size": 1000} if algorithm is DQN else {}
    callback = IntrinsicReward("rnd", coef=0.1)
    model = algorithm("CnnPolicy", env, seed=0, **settings).learn(256, callback=callback)
    assert model.num_timesteps == 256 and not [warning for warning in recwarn if "episodes" in str(warning.message)]


@real
def test_evaluate_policy_takes_the_true_returns():
    env = make_procgen("coinrun", 2, seed=0, num_levels=5)
    model = PPO("CnnPolicy", env, n_steps=16, batch_size=16, n_epochs=1)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=2, deterministic=False, return_episode_rewards=True)
    assert set(returns) <= {0.0, 10.0} and max(lengths) <= 1000


@real
def test_the_command_lines_environments_take_a_game_and_its_settings():
    env = make_vec_env("procgen/starpilot", 2, seed=0, env_kwargs={"num_levels": 3, "distribution_mode": "hard"})
    env.reset()
    assert {info["level_seed"] for info in env.unwrapped.reset_infos} <= {0, 1, 2}
    assert has_time_limit("procgen/starpilot", {})
    with pytest.raises(UserError, match="no option levels"):
        make_vec_env("procgen/starpilot", 1, 0, {"levels": 3})
    with pytest.raises(UserError, match="takes no --env-wrapper"):
        make_vec_env("procgen/starpilot", 1, 0, wrappers=["useless_actions:n=2"])


@real
def test_check_counts_what_the_game_itself_pays(coinrun):
    """``sb3-infomax check`` compares what a run reports with a count of its own, below everything."""
    returns = tally(coinrun)
    ends = play(coinrun, 150)[3]
    assert returns == [info["episode"]["r"] for *_, info in ends] and len(returns) > 8


def test_algorithms_start_from_what_is_usual_on_video_games():
    spec = RunSpec(env="procgen/coinrun", method="ppo", timesteps=1000, seed=0)
    assert is_video_game("procgen/coinrun") and is_video_game("ALE/Pong-v5") and not is_video_game("CartPole-v1")
    assert default_n_envs(spec) == 8 and default_n_envs(replace(spec, method="dqn")) == 1
    assert algorithm_settings(spec, Part("dqn"), is_video_game(spec.env))["buffer_size"] == 100_000


@real
def test_rewards_are_written_to_the_file_of_a_monitor(tmp_path):
    play(make_procgen("coinrun", 8, seed=0, monitor_file=str(tmp_path / "run")), 80)
    assert (tmp_path / "run.monitor.csv").read_text().count("\n") > 3


@real
def test_pictures_for_videos_are_the_observations(coinrun):
    observations = coinrun.reset()
    np.testing.assert_array_equal(np.stack(coinrun.get_images()), observations)
    assert coinrun.render().shape == (3 * 64, 3 * 64, 3)  # tiles


@pytest.mark.parametrize(
    ("game", "settings", "message"),
    [
        ("conrun", {}, "no game 'conrun'; it has bigfish"),
        ("maze", {"distribution_mode": "extreme"}, "maze has no distribution_mode 'extreme'; it has easy, hard, memory"),
        ("maze", {"num_levels": -1}, "cannot be negative"),
        ("maze", {"distribution_mode": "exploration", "num_levels": 3}, "one fixed level"),
        ("maze", {"backgrounds": False}, "no option backgrounds; it has .*use_backgrounds"),
        ("maze", {"backend": "gym"}, "one of envpool, gym3, got 'gym'"),
        ("maze", {"backend": "envpool", "use_sequential_levels": True}, "needs backend='gym3'"),
        ("coinrun", {"n_envs": 0}, "n_envs must be at least 1, got 0"),
        ("coinrun", {"num_levels": "x"}, "num_levels must be a whole number, got 'x'"),
    ],
)
def test_what_procgen_does_not_have_is_one_sentence(game, settings, message):
    with pytest.raises(ValueError, match=message):
        make_procgen(game, **settings)


def test_an_unknown_game_of_the_command_line_is_told_with_the_nearest():
    with pytest.raises(UserError, match="did you mean coinrun"):
        make_vec_env("procgen/conrun", 1, 0)


def only(monkeypatch, *packages):
    """Pretend that of the two packages only these are installed."""
    found = {name: object() for name in packages}
    monkeypatch.setattr(procgen.importlib.util, "find_spec", found.get)


def test_what_to_install_is_one_sentence(monkeypatch):
    only(monkeypatch)
    with pytest.raises(ImportError, match=r"pip install 'sb3-infomax\[procgen\]'; or, .*procgen-mirror\.$"):
        make_procgen("coinrun")
    only(monkeypatch, "envpool")
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ImportError, match=r"Qt 5 .* apt-get install libqt5gui5; or"):
        make_procgen("coinrun")


@pytest.mark.parametrize(
    ("backend", "message"),
    [("envpool", r"pip install 'sb3-infomax\[procgen\]'\.$"), ("gym3", r"needs NumPy 1, .* pip install procgen-mirror\.$")],
)
def test_a_build_that_is_asked_for_by_name_and_not_there_is_one_sentence_too(monkeypatch, backend, message):
    only(monkeypatch)
    with pytest.raises(ImportError, match=message):
        make_procgen("coinrun", backend=backend)


class StandIn:
    """The original's interface, by its documentation: resets inside of a step. The picture counts the steps of an episode."""

    def __init__(self, num, env_name, rand_seed, num_threads, **settings):
        self.num, self.settings, self.steps = num, settings, np.zeros(num, int)
        self.level, self.last = np.full(num, rand_seed % 100), np.full(num, -1)
        self.first = np.ones(num, dtype=bool)

    def act(self, actions):
        assert actions.dtype == np.int32
        self.steps += 1
        self.first = self.steps == 3 + np.arange(self.num)
        self.last = self.level.copy()
        self.level[self.first] += 1
        self.steps[self.first] = 0

    def observe(self):
        pictures = np.zeros((self.num, 64, 64, 3), np.uint8) + self.steps.astype(np.uint8)[:, None, None, None]
        return np.where(self.first, 10.0, 0.0).astype(np.float32), {"rgb": pictures}, self.first.copy()

    def get_info(self):
        rows = zip(self.level, self.last, self.first, strict=True)
        return [dict(zip(procgen.LEVEL_KEYS, row, strict=True)) for row in rows]

    def close(self):
        pass


@pytest.fixture
def original(monkeypatch):
    module = ModuleType("procgen")
    module.ProcgenGym3Env = StandIn
    monkeypatch.setitem(sys.modules, "procgen", module)
    only(monkeypatch, "procgen")


def test_without_envpool_the_original_is_taken(original):
    env = make_procgen("coinrun", 3, seed=7, use_sequential_levels=True)
    assert isinstance(env.unwrapped, procgen.Gym3Procgen)
    assert env.unwrapped.pool.settings["use_sequential_levels"] and env.unwrapped.pool.settings["num_levels"] == 0
    exploring = make_procgen("coinrun", 3, seed=7, distribution_mode="exploration").unwrapped
    assert "num_levels" not in exploring.pool.settings


def test_the_originals_ends_have_returns_and_levels_and_no_terminal_observation(original):
    env = make_procgen("coinrun", 3, seed=7)
    observations, rewards, dones, ends = play(env, 30)
    assert all("terminal_observation" not in info and not info.get("TimeLimit.truncated") for *_, info in ends)
    assert all(info["episode"]["r"] == 10.0 and info["episode"]["l"] == 3 + index for _, index, info in ends)
    assert [info["level_seed"] for _, index, info in ends if index == 0] == list(range(7, 17))
    assert env.unwrapped.reset_infos[0]["level_seed"] == 17
    assert (observations[1:][dones] == 0).all() and rewards.sum() == 10.0 * dones.sum()


def test_the_original_restarts_elsewhere_after_steps_and_at_a_seed_where_it_was(original):
    env = make_procgen("coinrun", 3, seed=7).unwrapped
    play(env, 5)
    env.reset()
    assert env.pool_seed != 7 and env.pool.steps.tolist() == [0, 0, 0]
    env.seed(7)
    env.reset()
    assert env.pool_seed == 7


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_the_originals_unknown_ends_get_no_bonus(original, algorithm):
    """A third, a quarter and a fifth of the transitions of the three environments end an episode."""
    env = make_procgen("coinrun", 3, seed=7)
    settings = {"n_steps": 60, "batch_size": 60, "n_epochs": 1} if algorithm is PPO else {"learning_starts": 60}
    settings |= {"buffer_size": 600} if algorithm is DQN else {}
    callback, unknown = IntrinsicReward("rnd", coef=0.1), []
    log = Call(rollout_end=lambda model: unknown.append(model.logger.name_to_value.get("intrinsic/unknown")))
    with pytest.warns(UserWarning, match="does not tell the observations that end episodes"):
        model = algorithm("CnnPolicy", env, seed=0, **settings).learn(180, callback=[callback, log])
    if algorithm is PPO:
        assert unknown == [20 + 15 + 12]
    else:
        reader = callback.stream.reader
        np.testing.assert_array_equal(reader.unknown.sum(0), model.replay_buffer.dones.sum(0))


class Recorder(AuxiliaryModule):
    """Keeps what it is given."""

    def loss(self, pairs, encode, features=None):
        self.__dict__.setdefault("seen", []).append(pairs)
        loss = 0.0 * encode(pairs.observations).global_vector.sum()
        return loss, {"loss": loss}


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_the_originals_unknown_ends_are_no_pairs(original, algorithm):
    """The picture counts the steps of an episode, and what follows its last one is another episode's first."""
    settings = {"n_steps": 30, "batch_size": 90, "n_epochs": 1} if algorithm is PPO else {"learning_starts": 60}
    settings |= {"buffer_size": 600} if algorithm is DQN else {}
    callback = AuxiliaryLoss(Recorder)
    with pytest.warns(UserWarning, match="no pair ends with them"):
        algorithm("MlpPolicy", make_procgen("coinrun", 3, seed=7), seed=0, **settings).learn(90, callback=callback)
    pairs = callback.module.seen[0]
    now, later = (x[pairs.valid].flatten(1)[:, 0] for x in (pairs.observations, pairs.later_observations))
    assert len(now) > 50 and th.equal(later.int(), now.int() + 1)
    assert not pairs.valid.all() if algorithm is PPO else pairs.valid.all()  # replay draws others in their place


def test_the_originals_unknown_ends_are_marked_for_the_reward_wrapper_too(original):
    env = IntrinsicVecEnv(make_procgen("coinrun", 3, seed=7), "rnd", update_every=60)
    env.reset()
    valid = []
    for _ in range(12):
        env.step(np.zeros(3, int))
        valid.append(env.collected[-1].valid)
    assert (~th.stack(valid)).sum(0).tolist() == [4, 3, 2]


@real
def test_a_single_environment_plays_the_same_game_with_its_last_observations():
    envs, env = make_procgen("leaper", 1, seed=3, backend="envpool"), ProcgenEnv("leaper", "rgb_array")
    frames, (frame, _), n_ends = envs.reset(), env.reset(seed=3), 0
    random = np.random.default_rng(0)
    for _ in range(1100):
        assert (frame == frames[0]).all() and (env.render() == frame).all()
        action = random.integers(15)
        frames, rewards, dones, infos = envs.step(np.array([action]))
        frame, reward, terminated, truncated, info = env.step(action)
        assert reward == rewards[0] and (terminated or truncated) == dones[0] and truncated == infos[0]["TimeLimit.truncated"]
        if dones[0]:
            n_ends += 1
            assert (frame == infos[0]["terminal_observation"]).all() and info["is_success"] == infos[0]["is_success"]
            frame, _ = env.reset()
    env.close()
    assert n_ends >= 2
