"""Two value heads: intrinsic credit against loops over time, extrinsic returns untouched, the head trained and saved."""

import numpy as np
import pytest
import torch as th
from stable_baselines3 import A2C, PPO
from toys import STEPS, Call, ForgetfulVecEnv, Height, Step, jump_envs, make

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.policies import (
    TwoHeadActorCriticCnnPolicy,
    TwoHeadActorCriticPolicy,
    TwoHeadMultiInputActorCriticPolicy,
    two_head_policy,
)

N_STEPS, N_ENVS, GAMMA, LAMBDA = 16, 2, 0.9, 0.8


def one_rollout(learner, coef, ext_coef=1.0, env=None, **knobs):
    """The rollout before and after, terminal observations and kinds of ends."""
    ends, kept = {}, {}

    def step(model):
        for i, done in enumerate(callback.locals["dones"]):
            if done:
                info = callback.locals["infos"][i]
                ends[len(ends), i] = (len(steps), info.get("terminal_observation"), info["TimeLimit.truncated"])
        steps.append(1)

    def keep(name):
        def copy(model):
            buffer = model.rollout_buffer
            kept[name] = {key: getattr(buffer, key).copy() for key in ("observations", "rewards", "advantages", "returns")}
            kept["last"], kept["policy"] = model._last_obs.copy(), model.policy
            values = lambda obs: model.policy.predict_intrinsic_values(th.as_tensor(obs)).detach().numpy()  # noqa: E731
            kept["v"] = np.stack([values(row) for row in [*buffer.observations, model._last_obs]])
            kept["v_end"] = {
                (t, i): 0.0 if obs is None else float(values(obs[None])[0]) for (_, i), (t, obs, _) in ends.items()
            }
            kept["truncated"] = {(t, i): truncated for (_, i), (t, _, truncated) in ends.items()}
            kept["int_returns"] = callback.stream.two_heads.returns.clone()

        return copy

    steps: list = []
    callback = IntrinsicReward(Height, coef, ext_coef, normalize="none", **knobs)
    before, after = Call(step=step, rollout_end=keep("before")), Call(rollout_end=keep("after"))
    model = make(learner, env, gae_lambda=LAMBDA, gamma=0.5, n_steps=N_STEPS)
    model.learn(N_STEPS * N_ENVS, callback=[before, callback, after])
    return kept


def intrinsic_advantages(kept, episodic, unknown=False):
    """By hand, backwards through time."""
    advantages, x = np.zeros((N_STEPS, N_ENVS)), kept["before"]["observations"][..., 0]
    for i in range(N_ENVS):
        following = 0.0
        for t in reversed(range(N_STEPS)):
            bonus, next_value = (x[t, i] + 1) / 100, kept["v"][t + 1, i]
            if (t, i) in kept["truncated"]:
                bonus = 0.0 if unknown else bonus
                if episodic:
                    next_value = kept["v_end"][t, i] if kept["truncated"][t, i] else 0.0
                    following = 0.0
            following = bonus + GAMMA * next_value - kept["v"][t, i] + GAMMA * LAMBDA * following
            advantages[t, i] = following
    return advantages


@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("learner", ["PPO-two-heads", "A2C-two-heads"])
def test_intrinsic_advantages_equal_a_loop_over_time(learner, episodic):
    kept = one_rollout(learner, 0.7, 2.0, gamma=GAMMA, episodic=episodic)
    assert {True, False} == set(kept["truncated"].values())
    expected = intrinsic_advantages(kept, episodic)
    mixed = 2.0 * kept["before"]["advantages"] + 0.7 * expected
    np.testing.assert_allclose(kept["after"]["advantages"], mixed, rtol=1e-4, atol=1e-4)
    for name in ("returns", "rewards"):  # the targets of the extrinsic head
        np.testing.assert_array_equal(kept["before"][name], kept["after"][name])
    env_major = (expected + kept["v"][:-1]).T.reshape(-1)
    np.testing.assert_allclose(kept["int_returns"], env_major, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("episodic", [False, True])
def test_unknown_terminal_observations_pay_and_bootstrap_nothing(episodic):
    with pytest.warns(UserWarning, match="does not tell"):
        kept = one_rollout("PPO-two-heads", 1.0, gamma=GAMMA, episodic=episodic, env=jump_envs(2, ForgetfulVecEnv))
    expected = kept["before"]["advantages"] + intrinsic_advantages(kept, episodic, unknown=True)
    np.testing.assert_allclose(kept["after"]["advantages"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("learner", ["PPO-two-heads", "A2C-two-heads"])
def test_the_head_learns_the_intrinsic_return(learner):
    """A constant bonus of 1 forever: V_int goes to 1 / (1 - gamma)."""
    losses = []
    log = Call(rollout_end=lambda model: losses.append(model.logger.name_to_value.get("intrinsic/value_loss")))
    callback = IntrinsicReward(Step, normalize="none", gamma=0.5, episodic=False)
    model = make(learner, learning_rate=1e-2, gae_lambda=1.0).learn(1200, callback=[callback, log])
    losses = [loss for loss in losses if loss]
    assert np.mean(losses[-3:]) < 0.2 * losses[0]
    observations = th.as_tensor(model.rollout_buffer.observations.reshape(-1, 2))
    assert model.policy.predict_intrinsic_values(observations).mean().item() == pytest.approx(2.0, abs=0.7)


def test_minibatches_meet_their_own_returns():
    """Whatever the shuffle: the returns that the head is trained on belong to the minibatch's observations."""
    seen = []

    class Hooked(IntrinsicReward):
        def _on_rollout_end(self):
            super()._on_rollout_end()
            heads = self.stream.two_heads
            heads.returns = th.as_tensor(self.model.rollout_buffer.observations[..., 0].T.reshape(-1).copy())
            heads._backward = lambda: seen.append(heads.minibatch) if heads.minibatch else None

    make("PPO-two-heads").learn(32, callback=Hooked(Step, gamma=0.9))
    assert len(seen) == 4 and all(th.equal(observations[:, 0], returns) for observations, returns in seen)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_the_head_is_saved_and_loaded_with_the_policy(algorithm, tmp_path):
    learner = f"{algorithm.__name__}-two-heads"
    model = make(learner).learn(STEPS, callback=IntrinsicReward("rnd", gamma=0.9))
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model")
    observations = th.randn(7, 2)
    predict = lambda each: each.policy.predict_intrinsic_values(observations)  # noqa: E731
    assert th.equal(predict(model), predict(loaded)) and predict(model).shape == (7,)
    assert not th.equal(predict(model), predict(make(learner)))


@pytest.mark.parametrize(
    "knobs, other",
    [
        ({"gamma": 0.9}, {"gamma": 0.1}),
        ({"gamma": 0.9, "episodic": False}, {"gamma": 0.9, "episodic": True}),
        ({"gamma": 0.9, "coef": 1.0}, {"gamma": 0.9, "coef": 2.0}),
        ({"gamma": 0.9, "ext_coef": 1.0}, {"gamma": 0.9, "ext_coef": 0.0}),
    ],
)
def test_knobs_of_two_heads_matter(knobs, other):
    runs = [
        make("PPO-two-heads").learn(STEPS, callback=IntrinsicReward(Step, seed=0, **each)) for each in (knobs, knobs, other)
    ]
    weights = [th.cat([value.flatten() for value in run.policy.state_dict().values()]) for run in runs]
    assert th.equal(weights[0], weights[1]) and not th.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    "policy, cls, kind",
    [
        ("MlpPolicy", TwoHeadActorCriticPolicy, "box"),
        ("CnnPolicy", TwoHeadActorCriticCnnPolicy, "image"),
        ("MultiInputPolicy", TwoHeadMultiInputActorCriticPolicy, "dict"),
    ],
)
@pytest.mark.parametrize("share", [True, False])
def test_every_policy_has_a_two_head_form(policy, cls, kind, share):
    assert two_head_policy(policy) is cls
    model = PPO(cls, jump_envs(2, kind=kind), 1e-3, 8, 8, policy_kwargs={"share_features_extractor": share})
    before = model.policy.int_value_net.weight.clone()
    model.learn(32, callback=IntrinsicReward("rnd", gamma=0.9, episodic=False))
    assert not th.equal(before, model.policy.int_value_net.weight)
    with pytest.raises(ValueError, match="no two-head form of 'LstmPolicy'"):
        two_head_policy("LstmPolicy")
