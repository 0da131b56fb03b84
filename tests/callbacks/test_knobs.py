"""House rules 4 and 7: every knob changes what it is about, and bad input gets one sentence before training."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import ARS, TRPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList, EveryNTimesteps
from stable_baselines3.common.utils import LinearSchedule
from toys import PPO_LIKE, STEPS, Call, Height, Rude, Step, fingerprint, jump_envs, make, newest, same_run

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.checks import NonFiniteError
from sb3_infomax.common.policies import TwoHeadActorCriticPolicy
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.rewards.icm import ICM
from sb3_infomax.rewards.rnd import RND


def bonuses(*args, learner="PPO", n_steps=STEPS, **kwargs):
    """What the learner was paid, rollout by rollout: PPO's rewards less those of the environment."""
    paid = []

    def keep(model):
        x = model.rollout_buffer.observations[..., 0] + 1
        paid.append(model.rollout_buffer.rewards - np.sin(x))

    # no discount: truncated episodes get no bootstrap, and what is left is the bonus
    make(learner, gamma=0.0).learn(n_steps, callback=[IntrinsicReward(*args, **kwargs), Call(rollout_end=keep)])
    return np.stack(paid)


def test_coef_scales_the_bonus():
    np.testing.assert_allclose(bonuses(Step, 0.25, normalize="none"), 0.25, atol=1e-6)
    np.testing.assert_allclose(bonuses(Step, -3, normalize="none"), -3.0, atol=1e-6)


def test_coef_follows_a_schedule():
    paid = bonuses(Step, LinearSchedule(2.0, 0.0, 1.0), normalize="none", n_steps=96).mean(axis=(1, 2))
    np.testing.assert_allclose(paid, 2.0 * (1 - np.arange(3) / 3), atol=1e-6)


def test_the_modules_own_coefficient_is_the_default():
    assert bonuses("rnd", 0.5).std() < bonuses("rnd").std() == pytest.approx(bonuses("rnd", RND.defaults["coef"]).std())


def test_ext_coef_scales_the_environments_reward_and_not_the_bonus():
    plain, doubled = bonuses(Step, normalize="none"), bonuses(Step, 1.0, 2.0, normalize="none")
    sines = doubled - plain
    assert np.abs(sines).max() > 0.5 and np.allclose(plain, 1.0, atol=1e-6)
    np.testing.assert_allclose(np.abs(sines).max(), 1.0, atol=0.1)


def test_weights_mix_the_bonuses_of_a_list():
    paid = bonuses([Step, Height], weights=[3.0, 0.0], normalize="none")
    np.testing.assert_allclose(paid, 3.0, atol=1e-6)
    both = bonuses([Step, Height], weights=[3.0, 100.0], normalize="none")
    assert (both - paid).min() >= 1.0 - 1e-4  # Height pays x / 100, and x is at least 1


@pytest.mark.parametrize(
    "normalize, statistic",
    [
        ("none", lambda b: b.mean() > 0.5),
        ("std", lambda b: b.std() == pytest.approx(1.0, abs=0.02)),
        ("batch_std", lambda b: b.std() == pytest.approx(1.0, abs=1e-3)),
        ("return_std", lambda b: b.std() == pytest.approx(1.0, abs=0.02)),
        ("minmax", lambda b: (b.min(), b.max()) == pytest.approx((0.0, 1.0), abs=1e-5)),
    ],
)
def test_normalize_scales_the_bonus(normalize, statistic):
    assert statistic(bonuses(Height, normalize=normalize, n_steps=32))


def test_return_std_uses_the_discount_of_the_return():
    """gamma of the algorithm, or the bonus' own; a constant bonus has returns that differ while the sum builds up."""
    stds = []
    for learner, gamma, knob in [("PPO", 0.5, {}), ("PPO", 0.9, {}), ("PPO-two-heads", 0.9, {"gamma": 0.5})]:
        callback = IntrinsicReward(Step, normalize="return_std", **knob)
        make(learner, gamma=gamma).learn(32, callback=callback)
        stds.append(float(callback.mixture.scalers[0].return_moments.std))
    sums = lambda gamma: np.std([sum(gamma**i for i in range(t + 1)) for t in range(16)])  # noqa: E731
    assert stds == pytest.approx([sums(0.5), sums(0.9), sums(0.5)], rel=1e-3)


@pytest.mark.parametrize("normalize", ["none", "std", "batch_std", "minmax", "return_std"])
def test_center_takes_the_mean_away_and_leaves_the_spread(normalize):
    plain = bonuses(Height, normalize=normalize, n_steps=32)
    centred = bonuses(Height, normalize=normalize, center=True, n_steps=32)
    assert centred.mean() == pytest.approx(0.0, abs=1e-5) and centred.std() == pytest.approx(plain.std(), rel=1e-4)


def test_preset_sets_module_and_callback():
    callback = IntrinsicReward("rnd", preset="paper")
    PPO(TwoHeadActorCriticPolicy, jump_envs(2), **PPO_LIKE).learn(32, callback=callback)
    assert callback.module.n_epochs == 4 and callback.plan.knob("ext_coef", None) == 2.0
    assert not callback.stream.two_heads.episodic
    assert IntrinsicReward("rnd", preset="paper", ext_coef=1.0).plan.knob("ext_coef", None) == 1.0


def test_module_kwargs_reach_the_module():
    callback = IntrinsicReward(["rnd", "icm"], module_kwargs={"icm": {"beta": 0.4}})
    make("PPO").learn(32, callback=callback)
    assert [type(module) for module in callback.module] == [RND, ICM] and callback.module[1].beta == 0.4


def test_start_after_pays_nothing_before_but_trains():
    callback, losses = IntrinsicReward(Step, normalize="none", start_after=64), []
    paid = bonuses(Step, normalize="none", start_after=64, n_steps=128)
    np.testing.assert_allclose(paid.mean(axis=(1, 2)), [0.0, 0.0, 1.0, 1.0], atol=1e-6)
    log = Call(rollout_end=lambda model: losses.append(model.logger.name_to_value["intrinsic/rnd_loss"]))
    plain = fingerprint(make("PPO").learn(64))
    assert same_run(plain, make("PPO").learn(64, callback=[IntrinsicReward("rnd", start_after=64), log]))
    assert losses[1] < losses[0] and callback.start_after == 64


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_seed_decides_the_module_and_nothing_else(learner):
    def run(coef, seed):
        callback = IntrinsicReward("rnd", coef, seed=seed)
        model = make(learner).learn(STEPS, callback=callback)
        return model, callback.module.state_dict()["predictor.1.0.weight"]

    (zero, one), (_, again), (other, two) = run(0.0, 1), run(0.0, 1), run(0.0, 2)
    assert th.equal(one, again) and not th.equal(one, two)
    assert same_run(zero, other)
    assert not same_run(run(1.0, 1)[0], run(1.0, 2)[0])


def test_the_models_seed_is_the_default_seed():
    weights = []
    for seed in (3, 3, 4):
        callback = IntrinsicReward("rnd")
        make("PPO", seed=seed).learn(32, callback=callback)
        weights.append(callback.module.target.mlp[0].weight)
    assert th.equal(weights[0], weights[1]) and not th.equal(weights[0], weights[2])


@pytest.mark.parametrize("device", ["cpu", th.device("cpu"), "auto"])
def test_device_of_the_module(device):
    callback = IntrinsicReward("rnd", device=device)
    make("PPO").learn(32, callback=callback)
    assert callback.module.ready.device == th.device("cpu")


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_nonfinite_observations_are_told_or_count_as_zero(learner):
    class Broken(Step):
        def bonus(self, transitions):
            x = newest(transitions.next_observations)
            return th.where(x % 3 == 0, th.nan, 1.0)

    with pytest.raises(NonFiniteError, match=r"The bonus of 'broken' is not finite.*lower its learning_rate"):
        make(learner).learn(STEPS, callback=IntrinsicReward(Broken))
    with pytest.warns(UserWarning, match="on_nonfinite='zero'") as warned:
        model = make(learner).learn(STEPS, callback=IntrinsicReward(Broken, normalize="none", on_nonfinite="zero"))
    assert len(warned) == 1 and all(th.isfinite(value).all() for value in model.policy.state_dict().values())


@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_nan_observations_are_blamed_on_the_environment(learner):
    """In terminal observations only: those of a step make SB3's own networks fail first."""
    env = jump_envs(2)
    step_wait = env.step_wait

    def broken():
        *step, infos = step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = np.full(2, np.nan, np.float32)
        return *step, infos

    env.step_wait = broken
    with pytest.raises(NonFiniteError, match="observations or actions hold NaN"):
        make(learner, env).learn(STEPS, callback=IntrinsicReward("rnd"))


def test_a_loss_that_is_not_finite_is_told_before_it_spoils_the_module():
    class Exploding(Rude):
        def loss(self, transitions):
            loss, metrics = super().loss(transitions)
            return loss * th.inf, metrics

    callback = IntrinsicReward(Exploding)
    with pytest.raises(NonFiniteError, match="The loss of Exploding is"):
        make("PPO").learn(STEPS, callback=callback)
    assert all(th.isfinite(parameter).all() for parameter in callback.module.parameters())


class WarmingUp(Step):
    """Pays from the third update on."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ready.fill_(False)
        self.n_updates = 0

    def update(self, transitions):
        self.n_updates += 1
        self.ready.fill_(self.n_updates >= 2)
        return {}


def test_a_module_that_warms_up_pays_zero_and_its_zeros_are_not_averaged():
    ready = []
    log = Call(rollout_end=lambda model: ready.append(model.logger.name_to_value["intrinsic/ready"]))
    callback = IntrinsicReward(WarmingUp, normalize="std")
    make("PPO").learn(128, callback=[callback, log])
    assert ready == [0.0, 1.0, 1.0, 1.0]
    assert callback.mixture.scalers[0].moments.mean == pytest.approx(1.0, abs=1e-4)


BAD_ARGUMENTS = [
    ({"module": "rnt"}, "Unknown reward 'rnt': did you mean rnd"),
    ({"module": "nonsense"}, "Unknown reward 'nonsense': known are emi, empowerment, "),
    ({"module": "no.such:Module"}, "there is no module 'no.such'"),
    ({"module": "sb3_infomax.rewards.rnd:RNT"}, "has no 'RNT'"),
    ({"module": PPO}, "is no reward: give a registered name"),
    ({"module": []}, "at least one module"),
    ({"coef": "a"}, "coef must be a finite number or a schedule"),
    ({"coef": True}, "coef must be a finite number"),
    ({"coef": float("nan")}, "coef must be a finite number"),
    ({"ext_coef": float("inf")}, "ext_coef must be a finite number"),
    ({"preset": "papr"}, "Unknown preset of RND 'papr': did you mean paper"),
    ({"normalize": "variance"}, "normalize must be one of return_std, std"),
    ({"module_kwargs": {"feature_dims": 3}}, "Unknown argument of RND 'feature_dims': did you mean feature_dim"),
    ({"module_kwargs": {"coef": 3}}, "coef is an argument of IntrinsicReward, not of RND"),
    ({"module": ["rnd"], "module_kwargs": {"rnt": {}}}, "Unknown module in module_kwargs 'rnt': did you mean rnd"),
    ({"module": ["rnd", "icm"], "weights": [1.0]}, "There are 2 modules and 1 weights"),
    ({"module": ["rnd"], "weights": ["a"]}, r"weights must be a list of numbers, got \['a'\]"),
    ({"module": ["rnd"], "weights": [float("nan")]}, "A weight must be a finite number, got nan"),
    ({"on_nonfinite": "ignore"}, "on_nonfinite must be 'raise' or 'zero'"),
    ({"save_freq": 100}, "save_freq needs a save_path"),
    ({"gamma": 1.5, "module": "rnd"}, "gamma must lie between 0 and 1"),
    ({"start_after": "soon"}, "start_after must be a whole number"),
]


@pytest.mark.parametrize("arguments, message", BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_get_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        IntrinsicReward(**({"module": "rnd"} | arguments))
    assert "\n" not in str(error.value) and str(error.value)[-1] in ".?"


def two_in_one_list():
    return [IntrinsicReward("rnd"), CallbackList([IntrinsicReward("icm")])]


def other_spaces():
    return IntrinsicReward(RND(spaces.Box(0, 1, (7,)), spaces.Discrete(2)))


class Tuples(RND):
    """Says what it needs."""

    @classmethod
    def check_spaces(cls, observation_space, action_space):
        raise ValueError("Tuples needs Tuple observations.")


REFUSED = [
    ("PPO", two_in_one_list, "two IntrinsicReward in one list"),
    ("PPO", lambda: EveryNTimesteps(8, IntrinsicReward("rnd")), "cannot work inside EveryNTimesteps"),
    ("PPO", lambda: EveryNTimesteps(8, CallbackList([IntrinsicReward("rnd")])), "cannot work inside EveryNTimesteps"),
    ("PPO", lambda: IntrinsicReward("rnd", gamma=0.9), "need a value function of their own: use PPO or A2C with"),
    ("PPO", lambda: IntrinsicReward("rnd", episodic=False), "need a value function of their own"),
    ("DQN", lambda: IntrinsicReward("rnd", gamma=0.9), "need a value function of their own"),
    ("RecurrentPPO", lambda: IntrinsicReward("rnd", episodic=False), "need a value function of their own"),
    ("DQN", lambda: IntrinsicReward("rnd", normalize="return_std"), "needs rollouts in time order"),
    ("PPO", other_spaces, "was made for the observation space .*make it from model.observation_space"),
    ("PPO", lambda: IntrinsicReward(Tuples), "Tuples needs Tuple observations"),
]


@pytest.mark.parametrize("learner, callback, message", REFUSED, ids=[f"{name}: {message}" for name, _, message in REFUSED])
def test_what_cannot_work_is_refused_before_the_first_step(learner, callback, message):
    model = make(learner)
    with pytest.raises(ValueError, match=message):
        model.learn(STEPS, callback=callback())
    assert model.num_timesteps == 0 and "train" not in vars(model)


def test_ars_and_trpo_with_two_heads_are_refused():
    with pytest.raises(ValueError, match="which ARS has not: wrap the environment with IntrinsicVecEnv"):
        ARS("LinearPolicy", jump_envs()).learn(10, callback=IntrinsicReward("rnd"))
    with pytest.raises(ValueError, match="Two value heads work with PPO and A2C, not with TRPO"):
        TRPO(TwoHeadActorCriticPolicy, jump_envs(2), n_steps=16, batch_size=16).learn(32, callback=IntrinsicReward("rnd"))


def test_actions_that_do_not_start_at_0_are_refused_since_sb3_sends_others():
    model = PPO("MlpPolicy", jump_envs(action_space=spaces.Discrete(2, start=3)), n_steps=16, batch_size=16)
    with pytest.raises(ValueError, match=r"sends the actions 0 to n - 1 .* starts at 3"):
        model.learn(STEPS, callback=IntrinsicReward("icm"))


@pytest.mark.parametrize("as_instance", [False, True])
@pytest.mark.parametrize("learner", ["PPO", "DQN"])
def test_a_callback_given_to_another_model_starts_afresh(learner, as_instance):
    def callback(model):
        return IntrinsicReward(RND(model.observation_space, model.action_space) if as_instance else "rnd", seed=1)

    model = make(learner)
    th.manual_seed(0)
    reused = callback(model)
    th.manual_seed(0)
    fresh_callback = callback(model)
    make(learner).learn(STEPS, callback=reused)
    second = make(learner).learn(STEPS, callback=reused)
    fresh = make(learner).learn(STEPS, callback=fresh_callback)
    assert same_run(second, fresh) and reused._built_for is second
    states = reused.mixture.state_dict(), fresh_callback.mixture.state_dict()
    assert all(th.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True) if isinstance(a, th.Tensor))


def test_fit_pretrains_and_learn_goes_on_from_there():
    buffer = make("DQN").learn(60).replay_buffer
    callback = IntrinsicReward("rnd", coef=1.0)
    first, last = callback.fit(buffer, n_updates=10), callback.fit(buffer, n_updates=100)
    module = callback.module
    assert 0 < last["rnd_loss"] < first["rnd_loss"]
    weights = module.predictor[1][0].weight.clone()
    make("DQN", learning_starts=1000).learn(20, callback=callback)
    assert callback.module is module and th.equal(module.predictor[1][0].weight, weights)


def test_fit_leaves_the_global_generators_alone_and_refuses_what_cannot_work():
    model = make("DQN").learn(60)
    before = th.get_rng_state()
    callback = IntrinsicReward("rnd")
    callback.fit(model.replay_buffer, n_updates=3)
    assert th.equal(before, th.get_rng_state())
    with pytest.raises(ValueError, match="was made for the observation space"):
        make("PPO", jump_envs(2, kind="discrete")).learn(32, callback=callback)
    with pytest.raises(ValueError, match="buffer is empty"):
        IntrinsicReward("rnd").fit(make("DQN").replay_buffer)
    with pytest.raises(ValueError, match="n_updates must be"):
        callback.fit(model.replay_buffer, n_updates=0)


def test_the_module_is_there_once_training_has_started():
    with pytest.raises(ValueError, match="there is none yet"):
        _ = IntrinsicReward("rnd").module
    callback = IntrinsicReward("rnd")
    make("PPO").learn(32, callback=callback)
    assert isinstance(callback.module, RewardModule)
