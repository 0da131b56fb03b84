"""Agents on the Hub and back, by the real client against a small hub on this machine."""

import json

import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_infomax import DRIML, AuxiliaryLoss, IntrinsicReward
from sb3_infomax.compare.spec import UserError
from sb3_infomax.zoo import load_from_hub, push_to_hub

REPO = "me/dqn-CartPole-v1"


@pytest.fixture(scope="module")
def agent():
    callbacks = [IntrinsicReward("rnd", coef=0.1), AuxiliaryLoss("infonce"), AuxiliaryLoss("cpc", coef=0.1)]
    model = DQN("MlpPolicy", make_vec_env("CartPole-v1"), learning_starts=20, batch_size=8, buffer_size=200, seed=0)
    return model.learn(60, callback=callbacks), callbacks


def push(agent, **settings):
    model, callbacks = agent
    return push_to_hub(model, REPO, make_vec_env("CartPole-v1"), module=callbacks, n_eval_episodes=3, **settings)


def same(a, b):
    return all(th.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_an_agent_goes_up_and_comes_back_with_what_its_callbacks_have_learned(hub, agent):
    assert push(agent) == f"{hub.url}/{REPO}"
    model, callbacks = load_from_hub(REPO, make_vec_env("CartPole-v1"), trust=True)
    assert isinstance(model, DQN) and same(model.policy, agent[0].policy)
    reward, infonce, cpc = agent[1]
    for callback, original in zip(callbacks, (infonce, cpc, reward), strict=True):
        callback.init_callback(model)
        tensors = {k: v for k, v in original.module.state_dict().items() if isinstance(v, th.Tensor)}
        assert tensors and all(th.equal(value, callback.module.state_dict()[key]) for key, value in tensors.items())
    model.learn(40, callback=callbacks, reset_num_timesteps=False)


def test_the_card_says_what_was_measured(hub, agent):
    push(agent, hyperparams={"learning_rate": 0.1})
    results, card = (hub.files[REPO][name].decode() for name in ("results.json", "README.md"))
    results = json.loads(results)
    assert results["n_eval_episodes"] == 3 and results["min_reward"] <= results["mean_reward"] <= results["max_reward"]
    assert f"| mean return | {results['mean_reward']:.2f} |" in card and "no intrinsic reward is counted" in card
    assert f"value: {results['mean_reward']:.2f} +/- {results['std_reward']:.2f}" in card
    assert "python -m sb3_infomax.zoo enjoy --algo dqn --env CartPole-v1" in card and "rl_zoo3" not in card
    assert "dqn-CartPole-v1.intrinsic.pt" in card and "'learning_rate': 0.1" in card


def test_pushing_again_takes_modules_away_that_the_agent_no_longer_has(hub, agent):
    push(agent)
    push((agent[0], []))
    assert not [name for name in hub.files[REPO] if name.endswith(".pt")]


def test_a_whole_model_is_refused_without_trust_and_its_weights_alone_are_not(hub, agent, monkeypatch):
    push(agent)
    with pytest.raises(UserError, match=r"can run any code.*trust"):
        load_from_hub(REPO)
    assert not [line for line in hub.requests if line.startswith("GET") and "resolve" in line]
    own = DQN("MlpPolicy", make_vec_env("CartPole-v1"), buffer_size=200)
    monkeypatch.setattr("cloudpickle.loads", lambda *_: pytest.fail("something was unpickled"))
    model, callbacks = load_from_hub(REPO, model=own)
    assert model is own and same(own.policy, agent[0].policy) and len(callbacks) == 3
    monkeypatch.undo()


def test_weights_that_do_not_fit_are_told(hub, agent):
    push(agent)
    env = make_vec_env("CartPole-v1")
    with pytest.raises(UserError, match="same policy"):
        load_from_hub(REPO, model=DQN("MlpPolicy", env, buffer_size=9, policy_kwargs={"net_arch": [3]}))
    with pytest.raises(UserError, match="is of DQN, and the model given is PPO"):
        load_from_hub(REPO, model=PPO("MlpPolicy", env))


@pytest.mark.parametrize("name", ["dqn-CartPole-v1.zip", "dqn-CartPole-v1.intrinsic.pt"])
def test_a_damaged_download_is_refused(hub, agent, name):
    push(agent)
    content = hub.files[REPO][name]
    hub.damaged[name] = content[:500] + b"?" + content[501:]
    with pytest.raises(UserError, match=f"{name} .* came damaged"):
        load_from_hub(REPO, trust=True)
    del hub.damaged[name]
    assert load_from_hub(REPO, trust=True).model.num_timesteps == 60  # the damaged file is not kept


@pytest.mark.parametrize(
    ("repo_id", "settings", "message"),
    [
        ("me/nothing", {}, "does not give or take me/nothing.*[Nn]ot [Ff]ound"),
        (REPO, {"revision": "v9"}, "does not give or take"),
        (REPO, {"filename": "ppo-CartPole-v1.zip"}, "has no file ppo-CartPole-v1.zip"),
        (REPO, {"filename": "README.md"}, "is not named as the RL Zoo"),
        ("a/b/c", {}, "does not give or take a/b/c"),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(hub, agent, repo_id, settings, message):
    push(agent)
    with pytest.raises(UserError, match=message):
        load_from_hub(repo_id, trust=True, **settings)


def test_no_hub_at_all_is_told_in_a_sentence(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not give or take"):
        load_from_hub(REPO, trust=True)


def test_moments_of_vec_normalize_come_along(hub):
    env = VecNormalize(make_vec_env("CartPole-v1"))
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=32).learn(32)
    push_to_hub(model, "me/normalised", env, n_eval_episodes=1)
    assert env.training and env.norm_reward
    loaded = load_from_hub("me/normalised", make_vec_env("CartPole-v1"), trust=True).model
    assert (loaded.get_vec_normalize_env().obs_rms.mean == env.obs_rms.mean).all()


def test_an_agent_of_the_rl_zoo_travels_by_command_line(zoo, hub):
    reward = "callback:{'sb3_infomax.IntrinsicReward': {'module': 'rnd'}}"
    small = "-params learning_starts:20 train_freq:8 gradient_steps:1 batch_size:8 v_max:200".split()
    assert zoo("train --algo driml --env CartPole-v1 -n 60 -f logs --seed 1 --eval-freq 40", *small, reward)[0] == 0
    code, out, _ = zoo("push_to_hub --algo driml --env CartPole-v1 -f logs -orga me --n-eval-episodes 2")
    assert code == 0 and f"{hub.url}/me/driml-CartPole-v1" in out
    code, _, errors = zoo("load_from_hub --algo driml --env CartPole-v1 -f got -orga me")
    assert code == 2 and "--trust" in errors
    assert zoo("load_from_hub --algo driml --env CartPole-v1 -f got --repo-id me/driml-CartPole-v1 --trust")[0] == 0
    assert zoo("enjoy --algo driml --env CartPole-v1 -f got --no-render -n 30")[0] == 0
    code, out, _ = zoo(
        "train --algo driml --env CartPole-v1 -n 20 -f logs --eval-freq -1 -i got/driml/CartPole-v1_1/CartPole-v1.zip",
        *small,
        reward,
    )
    assert code == 0 and "Going on with got/driml/CartPole-v1_1/CartPole-v1.intrinsic.pt" in out
    assert isinstance(load_from_hub("me/driml-CartPole-v1", trust=True).model, DRIML)
