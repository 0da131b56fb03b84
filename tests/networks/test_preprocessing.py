"""Every space to what networks take, value by value."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from samples import ACTIONS, OBSERVATIONS, samples

from sb3_infomax.networks.preprocessing import (
    check_action_space,
    check_observation_space,
    encode_actions,
    encode_observations,
    encoded_dim,
    image_shape,
    newest_frame_channels,
    observation_keys,
)

INF = np.inf
HALF = spaces.Box(np.array([0.0, -INF, -INF, 0.0]), np.array([INF, 0.0, INF, 4.0]), dtype=np.float64)


@pytest.mark.parametrize(
    ("space", "action", "encoded"),
    [
        (spaces.Discrete(3), 1, [0, 1, 0]),
        (spaces.Discrete(3, start=3), 5, [0, 0, 1]),
        (spaces.Discrete(2, start=-1), -1, [1, 0]),
        (spaces.MultiDiscrete([3, 2]), [2, 0], [0, 0, 1, 1, 0]),
        (spaces.MultiDiscrete([3, 2], start=[1, -1]), [1, 0], [1, 0, 0, 0, 1]),
        (spaces.MultiDiscrete([[2, 2], [2, 2]]), [[0, 1], [1, 0]], [1, 0, 0, 1, 0, 1, 1, 0]),
        (spaces.MultiBinary(3), [1, 0, 1], [1, 0, 1]),
        (spaces.Box(-2.0, 4.0, (3,)), [-2.0, 1.0, 4.0], [-1, 0, 1]),
        (spaces.Box(-2.0, 4.0, (2,)), [-9.0, 9.0], [-1, 1]),
        (spaces.Box(-1.0, 1.0, (2, 2)), [[-1.0, 0.0], [0.5, 1.0]], [-1, 0, 0.5, 1]),
        (spaces.Box(-INF, INF, (2,)), [-7.0, 7.0], [-7, 7]),
        (HALF, [-3.0, 3.0, 3.0, 1.0], [0, 0, 3, -0.5]),
        (HALF, [3.0, -3.0, -3.0, 9.0], [3, -3, -3, 1]),
        (spaces.Box(1.0, 1.0, (1,)), [1.0], [1]),
    ],
)
def test_actions_are_encoded_as_written_down(space, action, encoded):
    result = encode_actions(th.as_tensor(np.array([action, action])), space)
    assert result.dtype == th.float32 and result.shape == (2, encoded_dim(space))
    th.testing.assert_close(result, th.tensor([encoded, encoded], dtype=th.float32))


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_a_column_of_discrete_actions_is_the_same_as_a_row(shape):
    """Replay buffers hold (batch, 1), rollouts (batch,)."""
    actions = th.tensor([0, 1, 2, 1, 0])
    th.testing.assert_close(encode_actions(actions.reshape(shape), spaces.Discrete(3)), th.eye(3)[actions])


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_kind_of_action_is_finite_and_of_the_promised_size(kind):
    encoded = encode_actions(samples(ACTIONS[kind], 20), ACTIONS[kind])
    assert encoded.shape == (20, encoded_dim(ACTIONS[kind])) and th.isfinite(encoded).all()


@pytest.mark.parametrize("kind", [kind for kind in OBSERVATIONS if kind not in ("Atari", "MiniGrid", "Dict")])
def test_observations_that_are_no_images_become_flat_vectors(kind):
    encoded = encode_observations(samples(OBSERVATIONS[kind], 20), OBSERVATIONS[kind])
    assert encoded.dtype == th.float32 and encoded.shape == (20, encoded_dim(OBSERVATIONS[kind]))


def test_discrete_observations_honour_start():
    encoded = encode_observations(th.tensor([3, 5]), spaces.Discrete(3, start=3))
    th.testing.assert_close(encoded, th.tensor([[1.0, 0, 0], [0, 0, 1]]))
    encoded = encode_observations(th.tensor([[3, -1]]), OBSERVATIONS["MultiDiscrete"])
    th.testing.assert_close(encoded, th.tensor([[0.0, 0, 1, 1, 0]]))


def test_observations_are_not_clipped_to_their_bounds():
    th.testing.assert_close(encode_observations(th.tensor([[9.0]]), spaces.Box(-1.0, 1.0, (1,))), th.tensor([[9.0]]))


def test_both_channel_orders_give_the_same_image_between_0_and_1():
    first, last = spaces.Box(0, 255, (3, 8, 9), np.uint8), spaces.Box(0, 255, (8, 9, 3), np.uint8)
    images = samples(first, 5)
    encoded = encode_observations(images, first)
    assert encoded.shape == (5, 3, 8, 9) == (5, *image_shape(first)) and image_shape(last) == image_shape(first)
    th.testing.assert_close(encoded, images.float() / 255)
    th.testing.assert_close(encode_observations(images.movedim(1, -1), last), encoded)


@pytest.mark.parametrize(
    ("channels", "knob", "kept"),
    [
        (1, "auto", 1),
        (3, "auto", 3),
        (4, "auto", 1),
        (2, "auto", 1),
        (9, "auto", 3),
        (12, "auto", 3),
        (12, 6, 6),
        (4, None, 4),
    ],
)
@pytest.mark.parametrize("channels_first", [True, False])
def test_the_newest_frame_is_the_last_channels(channels, knob, kept, channels_first):
    shape = (channels, 20, 20) if channels_first else (20, 20, channels)
    space = spaces.Box(0, 255, shape, np.uint8)
    images = samples(space, 3)
    everything = encode_observations(images, space)
    encoded = encode_observations(images, space, newest_channels=knob)
    assert newest_frame_channels(channels, knob) == kept and image_shape(space, knob) == (kept, 20, 20)
    th.testing.assert_close(encoded, everything[:, -kept:])


@pytest.mark.parametrize("knob", [0, 5])
def test_more_channels_than_there_are_is_an_error(knob):
    with pytest.raises(ValueError, match="between 1 and the image's 4 channels, got"):
        newest_frame_channels(4, knob)


def test_dict_observations_are_encoded_key_by_key_without_the_desired_goal():
    goal = spaces.Box(-1.0, 1.0, (2,))
    space = spaces.Dict(observation=spaces.Discrete(3), desired_goal=goal, achieved_goal=goal)
    encoded = encode_observations(samples(space, 4), space)
    assert {key: value.shape for key, value in encoded.items()} == {"observation": (4, 3), "achieved_goal": (4, 2)}
    assert observation_keys(space, ["desired_goal"]) == ["desired_goal"]
    assert observation_keys(spaces.Dict(desired_goal=goal)) == ["desired_goal"]
    with pytest.raises(ValueError, match="no key 'goal'; it has"):
        observation_keys(space, ["goal"])


def test_unsupported_spaces_are_refused_in_one_sentence():
    nested = spaces.Dict(a=spaces.Dict(b=spaces.Discrete(2)))
    for space in (spaces.Tuple([spaces.Discrete(2)]), spaces.Text(5), nested):
        with pytest.raises(ValueError, match="are not supported: use Box"):
            check_observation_space(space)
    with pytest.raises(ValueError, match="are not supported: use Discrete"):
        check_action_space(nested)
    with pytest.raises(ValueError, match="cannot be encoded; use Discrete"):
        encode_actions(th.zeros(1), nested)
    with pytest.raises(ValueError, match="flatten the space with a wrapper"):
        encoded_dim(nested)
