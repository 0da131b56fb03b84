"""Encoders whose features are known, pairs and pictures, shared by the tests of auxiliary losses."""

import numpy as np
import torch as th
import torch.nn.functional as F
from gymnasium import spaces
from torch import nn

from sb3_infomax.networks.features import FeatureEncoder, Features, FeatureShape
from sb3_infomax.types import KStepPairs

FIVE = spaces.Discrete(5)
PIXELS = spaces.Box(0, 255, (1, 8, 8), np.uint8)
EVERYWHERE = th.ones(9, dtype=th.bool)


def vector_space(dim):
    return spaces.Box(-np.inf, np.inf, (dim,), np.float32)


class Identity(FeatureEncoder):
    """Observations are features."""

    def __init__(self, dim):
        super().__init__(FeatureShape(None, dim))

    def forward(self, observations):
        return Features(None, observations)


class SmallCNN(FeatureEncoder):
    """A 3 x 3 map of 4 channels and 6 global features of 8 x 8 pictures."""

    def __init__(self):
        super().__init__(FeatureShape((4, 3, 3), 6))
        self.conv, self.linear = nn.Conv2d(1, 4, 4, 2), nn.Linear(36, 6)

    def forward(self, observations):
        local_map = F.relu(self.conv(observations.float() / 255))
        return Features(local_map, self.linear(local_map.flatten(1)))


def make_pairs(now, later, actions=None, valid=None, k=1, trajectory=None):
    n = len(now)
    return KStepPairs(
        now,
        later,
        th.zeros(n, 1) if actions is None else actions,
        th.full((n,), k),
        th.ones(n, dtype=th.bool) if valid is None else valid,
        trajectory=trajectory,
    )


def pictures(n, **kwargs):
    now, later = (th.randint(0, 256, (n, 1, 8, 8), dtype=th.uint8) for _ in range(2))
    return make_pairs(now, later, th.randint(0, 5, (n, 1)), **kwargs)


def gradients(module, encoder, pairs):
    module.loss(pairs, encoder)[0].backward()
    return {name: parameter.grad for name, parameter in [*module.named_parameters(), *encoder.named_parameters()]}


def learn(module, draw, n_steps, lr=1e-3, encoder=None):
    """Train on fresh batches and estimate the information on 40 more: mean log batch - loss."""
    encoder = encoder or Identity(module.feature_shape.global_vector)
    optimizer = th.optim.Adam([*module.parameters(), *encoder.parameters()], lr=lr)
    for _ in range(n_steps):
        loss, _ = module.loss(draw(), encoder)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with th.no_grad():
        return float(np.mean([float(module.loss(draw(), encoder)[1]["mi"]) for _ in range(40)]))
