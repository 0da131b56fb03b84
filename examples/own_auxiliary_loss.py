"""An auxiliary loss of one's own: predict the action between two observations, on top of PPO's hidden layers.

python examples/own_auxiliary_loss.py [--timesteps 40000]
"""

import argparse

import torch as th
import torch.nn.functional as F
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from torch import nn

from sb3_infomax import AuxiliaryLoss, AuxiliaryModule


class InverseDynamics(AuxiliaryModule):
    """-log p(a_t | s_t, s_{t+1}): what of the observation the agent controls (Pathak et al., 2017, equation 3)."""

    def __init__(self, observation_space, action_space, encoder, **kwargs):
        super().__init__(observation_space, action_space, encoder, **kwargs)
        self.head = nn.Linear(2 * self.feature_shape.global_vector, int(action_space.n))

    def loss(self, pairs, encode, features=None):
        now, later = (x.global_vector for x in self.encode_pairs(pairs, encode, features))
        logits = self.head(th.cat([now, later], dim=1))[pairs.valid]
        taken = pairs.actions[pairs.valid].reshape(-1)
        loss = F.cross_entropy(logits, taken)
        return loss, {"loss": loss, "accuracy": (logits.argmax(dim=1) == taken).float().mean()}


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--timesteps", type=int, default=40_000)
arguments = parser.parse_args()

env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
model = PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=4, learning_rate=1e-3, seed=0, verbose=1)
auxiliary = AuxiliaryLoss(InverseDynamics, coef=0.1, loss_kwargs={"batch_size": 64})
model.learn(arguments.timesteps, log_interval=8, callback=auxiliary)
print("mean return of 10 episodes:", evaluate_policy(model, make_vec_env("CartPole-v1", seed=1), n_eval_episodes=10)[0])
