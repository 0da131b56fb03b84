"""The DQN family's one train()."""

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecNormalize
from toys import LEARNERS, STEPS, fingerprint, jump_envs, same_run

from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.common.value_based import ValueBased

CASES = {
    "mlp": {},
    "n-step": {"n_steps": 3},
    "many-gradient-steps": {"gradient_steps": 5, "max_grad_norm": 0.1, "target_update_interval": 8},
    "one-environment": {"env": lambda: jump_envs(1)},
    "normalised": {"env": lambda: VecNormalize(jump_envs(3))},
    "images": {"env": lambda: jump_envs(2, kind="image"), "policy": "CnnPolicy", "policy_kwargs": {}},
    "dict": {"env": lambda: jump_envs(2, kind="dict"), "policy": "MultiInputPolicy"},
}


def run(algorithm, env=lambda: jump_envs(2), policy="MlpPolicy", **settings):
    settings = LEARNERS["DQN"][3] | {"policy_kwargs": {"net_arch": [8]}} | settings
    return fingerprint(algorithm(policy, env(), **settings).learn(48))


@pytest.mark.parametrize("case", CASES)
def test_with_dqns_own_loss_it_is_bit_identical_to_dqn(case):
    assert same_run(run(DQN, **CASES[case]), run(ValueBased, **CASES[case]))


def test_the_seams_are_called_once_per_gradient_step():
    losses, after = [], []

    class Doubled(ValueBased):
        def _compute_loss(self, replay_data):
            losses.append(2 * super()._compute_loss(replay_data))
            return losses[-1]

        def _after_gradient_step(self, loss):
            after.append(loss)

    model = Doubled("MlpPolicy", jump_envs(2), **LEARNERS["DQN"][3]).learn(48)
    assert losses == after and len(losses) == model._n_updates > 0
    assert model.logger.name_to_value["train/loss"] == pytest.approx(np.mean([loss.item() for loss in losses[-2:]]))


def test_it_takes_an_intrinsic_reward_and_is_saved_like_dqn(tmp_path):
    model = ValueBased("MlpPolicy", jump_envs(2), **LEARNERS["DQN"][3]).learn(STEPS, callback=IntrinsicReward("rnd"))
    model.save(tmp_path / "model")
    loaded, observations = DQN.load(tmp_path / "model"), th.randn(4, 2)
    assert th.equal(model.q_net(observations), loaded.q_net(observations))
