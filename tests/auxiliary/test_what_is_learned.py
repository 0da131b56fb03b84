"""What InfoNCE sees and what it overlooks: a patch of order in noise, sprites before a background."""

import numpy as np
import pytest
import torch as th
import torch.nn.functional as F
from features import make_pairs
from gymnasium import spaces
from torch import nn

from sb3_infomax.auxiliary.infonce import InfoNCE, soft_clip
from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.envs.ising import IsingPatch
from sb3_infomax.networks.features import FeatureEncoder, Features, FeatureShape

CELLS, SIZE = 12, 24
SCREEN = spaces.Box(0, 255, (1, 84, 84), np.uint8)
PICTURE = spaces.Box(0, 255, (1, SIZE, SIZE), np.uint8)
MOVES = th.tensor([[-1, 0], [0, 1], [0, -1], [1, 0]])


def train(module, encoder, draw, n_steps):
    optimizer = th.optim.Adam([*encoder.parameters(), *module.parameters()], lr=1e-3)
    for _ in range(n_steps):
        loss, _ = module.loss(draw(), encoder)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Screen(FeatureEncoder):
    """DQN's convolutions on spins."""

    def __init__(self):
        extractor = LocalGlobalCNN(SCREEN, features_dim=8)
        super().__init__(extractor.feature_shape)
        self.extractor = extractor

    def forward(self, observations):
        return self.extractor.features(observations.float())


def test_local_terms_find_the_ordered_patch_of_an_ising_screen():
    """T5: below 0.05 inside, at least log 48 = 3.87 at the 13 locations that do not see the patch."""
    world, rng, encoder = IsingPatch(n_chains=96, rng=np.random.default_rng(0)), np.random.default_rng(1), Screen()
    module = InfoNCE(SCREEN, spaces.Discrete(2), encoder, dim=64, lambda_ll=1.0, lambda_gg=0.0, actions="none")
    frames = [world.reset()]

    def draw():
        now, later = frames.pop(), world.step()
        frames.append(later)
        rows = rng.permutation(96)[:48]
        return make_pairs(th.from_numpy(now[rows][:, None]), th.from_numpy(later[rows][:, None]))

    for _ in range(6):
        frames[0] = world.reset()
        train(module, encoder, draw, 20)
    maps = []
    with th.no_grad():
        for _ in range(5):
            pairs = draw()
            scores = soft_clip(module.scores(*_with_actions(module, encoder, pairs))["ll"], 20.0)
            maps.append(-scores.log_softmax(dim=-1).diagonal(dim1=-2, dim2=-1).mean(dim=-1))
    loss = th.stack(maps).mean(dim=0).reshape(7, 7)
    # locations are 8 pixels apart and see 36: those at index 6 begin at pixel 48, the patch ends at 42
    assert loss[:3, :3].mean() < 0.05
    outside = th.cat([loss[6], loss[:6, 6]])
    assert len(outside) == 13 and outside.min() > np.log(48)


def _with_actions(module, encoder, pairs):
    now, later = module.encode_pairs(pairs, encoder)
    return now, pairs.actions, later


class Picture(FeatureEncoder):
    """Two convolutions and 32 global features."""

    def __init__(self):
        super().__init__(FeatureShape((32, 5, 5), 32))
        self.convolutions = nn.Sequential(nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU())
        self.linear = nn.Linear(32 * 25, 32)

    def forward(self, observations):
        local_map = self.convolutions(observations.float() / 255)
        return Features(local_map, self.linear(local_map.flatten(1)))


def sprites(n, background, one_episode=False):
    """An agent that its actions move and a ghost that moves at random; each episode has a background of its own, or none.

    :return: pairs one step apart, and the agent's columns
    """
    n_pictures = 1 if one_episode else n
    scene = (140 * (th.rand(n_pictures, 1, SIZE, SIZE) < 0.3 * background)).to(th.uint8).expand(n, -1, -1, -1)
    agent, ghost, action = th.randint(CELLS, (n, 2)), th.randint(CELLS, (n, 2)), th.randint(4, (n,))

    def picture(agent, ghost):
        image = scene.clone()
        for place, colour in ((agent, 255), (ghost, 160)):
            for pixel in th.cartesian_prod(th.arange(2), th.arange(2)):
                rows, columns = (2 * place + pixel).unbind(dim=1)
                image[th.arange(n), 0, rows, columns] = colour
        return image

    now = picture(agent, ghost)
    later = picture(
        *((place + MOVES[move]).clamp(0, CELLS - 1) for place, move in ((agent, action), (ghost, th.randint(4, (n,)))))
    )
    trajectory = th.zeros(n, dtype=th.long) if one_episode else None
    return make_pairs(now, later, action[:, None], trajectory=trajectory), agent[:, 1]


def probe(encoder, background):
    """How often a linear readout of the global features finds the agent's column, in episodes it has not seen."""
    with th.no_grad():
        (x, y), (test_x, test_y) = (
            (F.pad(encoder(pairs.observations).global_vector, (0, 1), value=1.0), columns)
            for pairs, columns in (sprites(3000, background) for _ in range(2))
        )
    readout = th.linalg.solve(x.T @ x + 1e-3 * th.eye(x.shape[1]), x.T @ F.one_hot(y, CELLS).float())
    return ((test_x @ readout).argmax(dim=1) == test_y).float().mean().item()


@pytest.mark.parametrize("background", [False, True])
def test_sprites_are_found_unless_a_background_tells_episodes_apart(background):
    """T18: in the background's place, negatives of the same episode make the loss look at what moves."""
    found = {}
    for negatives in ("batch", "trajectory") if background else ("batch",):
        th.manual_seed(0)
        encoder = Picture()
        random = probe(encoder, background)
        module = InfoNCE(PICTURE, spaces.Discrete(4), encoder, dim=64, negatives=negatives)
        train(module, encoder, lambda n=negatives: sprites(128, background, one_episode=n == "trajectory")[0], 300)
        found[negatives] = probe(encoder, background)
        if negatives == "batch" and background:
            loss = module.loss(sprites(128, background)[0], encoder)[0].item()
            assert loss < 0.32  # and nothing learned
    if background:
        assert random < 0.2 and abs(found["batch"] - random) < 0.05 and found["trajectory"] > 0.38
    else:
        assert random < 0.5 and found["batch"] >= 0.65
