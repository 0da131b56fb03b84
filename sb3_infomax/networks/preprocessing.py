"""From what spaces give to what networks take: the only place where observations and actions are encoded.

Vectors become float32 of shape (batch, dim); images become float32 of shape (batch, channels, height, width) in [0, 1].
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from sb3_infomax.types import Frames

NewestChannels = int | Literal["auto"] | None


def is_image_space(space: spaces.Space) -> bool:
    """True for uint8 Boxes of rank 3, either channel order."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def is_channels_first(space: spaces.Box) -> bool:
    """True where the first axis of an image space is its smallest (as SB3 decides it)."""
    return int(np.argmin(space.shape)) == 0


def observation_keys(space: spaces.Dict, keys: Sequence[str] | None = None) -> list[str]:
    """The keys of a Dict observation that methods look at, in the space's order.

    :param space: a Dict of non-nested spaces
    :param keys: which ones; default all but ``desired_goal``, which tells nothing of where the agent is
    :raises ValueError: for keys that the space lacks
    """
    if keys is None:
        return [key for key in space.spaces if key != "desired_goal" or len(space.spaces) == 1]
    missing = [key for key in keys if key not in space.spaces]
    if missing:
        raise ValueError(f"The observation has no key {missing[0]!r}; it has {', '.join(space.spaces)}.")
    return [key for key in space.spaces if key in keys]


def newest_frame_channels(channels: int, newest_channels: NewestChannels) -> int:
    """How many of the last channels belong to the newest frame of a stack.

    :param channels: all channels of the image
    :param newest_channels: their number; ``"auto"`` takes 1 and 3 channels for one frame, multiples of 3 for stacked
        colour and any other number, Atari's 4 among them, for stacked grey; None keeps all
    """
    if newest_channels is None:
        return channels
    if newest_channels == "auto":
        return channels if channels in (1, 3) else 3 if channels % 3 == 0 else 1
    if not 1 <= newest_channels <= channels:
        raise ValueError(f"newest_channels must lie between 1 and the image's {channels} channels, got {newest_channels}.")
    return newest_channels


def image_shape(space: spaces.Box, newest_channels: NewestChannels = None) -> tuple[int, int, int]:
    """(channels, height, width) of an encoded image."""
    shape = space.shape if is_channels_first(space) else (space.shape[2], *space.shape[:2])
    return newest_frame_channels(shape[0], newest_channels), shape[1], shape[2]


def encoded_dim(space: spaces.Space) -> int:
    """Length of the vector that a (non-image, non-Dict) observation or an action is encoded as."""
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete):
        return int(np.sum(space.nvec))
    if isinstance(space, spaces.MultiBinary | spaces.Box):
        return int(np.prod(space.shape))
    raise ValueError(f"{type(space).__name__} spaces cannot be encoded as a vector; flatten the space with a wrapper.")


def _encode_discrete(values: Tensor, space: spaces.Discrete) -> Tensor:
    return one_hot(values.reshape(-1).long() - int(space.start), int(space.n)).float()


def _encode_multi_discrete(values: Tensor, space: spaces.MultiDiscrete) -> Tensor:
    nvec, start = space.nvec.reshape(-1), space.start.reshape(-1)
    columns = values.reshape(len(values), -1).long().unbind(dim=1)
    return th.cat([one_hot(column - int(s), int(n)) for column, n, s in zip(columns, nvec, start, strict=True)], dim=1).float()


def encode_actions(actions: Tensor, space: spaces.Space) -> Tensor:
    """Actions as the methods see them.

    One-hot for Discrete (honouring ``start``), one-hots side by side for MultiDiscrete, 0/1 for MultiBinary; Box actions
    are clipped to their bounds and mapped to [-1, 1] where both are finite.

    :param actions: what the environment received, shape (batch, ...)
    :param space: the action space
    :return: shape (batch, dim), float32
    """
    if isinstance(space, spaces.Discrete):
        return _encode_discrete(actions, space)
    if isinstance(space, spaces.MultiDiscrete):
        return _encode_multi_discrete(actions, space)
    flat = actions.reshape(len(actions), -1).float()
    if isinstance(space, spaces.MultiBinary):
        return flat
    if isinstance(space, spaces.Box):
        low, high = (
            th.as_tensor(bound.reshape(-1), dtype=th.float32, device=flat.device) for bound in (space.low, space.high)
        )
        flat = flat.clamp(low, high)
        bounded = th.isfinite(low) & th.isfinite(high) & (high > low)
        # where a bound is missing the arithmetic below is inf or nan and is not taken
        return th.where(bounded, 2.0 * (flat - low) / (high - low) - 1.0, flat)
    raise ValueError(
        f"Actions of {type(space).__name__} spaces cannot be encoded; use Discrete, MultiDiscrete, MultiBinary or Box."
    )


def encode_observations(
    observations: Frames,
    space: spaces.Space,
    *,
    newest_channels: NewestChannels = None,
    keys: Sequence[str] | None = None,
) -> Frames:
    """Observations as the networks take them.

    uint8 images are divided by 255 and laid out channels first, Discrete and MultiDiscrete become one-hots, all else a
    flat float32 vector; Dict observations are encoded key by key.

    :param observations: shape (batch, *obs_shape), or a dict of such
    :param space: the observation space
    :param newest_channels: keep only the newest frame of a stack of images, see :func:`newest_frame_channels`
    :param keys: which keys of a Dict; default all but ``desired_goal``
    :return: (batch, dim) or (batch, channels, height, width), float32; a dict of such for Dict spaces
    """
    if isinstance(space, spaces.Dict):
        assert isinstance(observations, dict)
        return {
            key: encode_observations(observations[key], space.spaces[key], newest_channels=newest_channels)  # type: ignore[misc]
            for key in observation_keys(space, keys)
        }
    assert isinstance(observations, Tensor)
    if is_image_space(space):
        assert isinstance(space, spaces.Box)
        if not is_channels_first(space):
            observations = observations.movedim(-1, 1)
        # select before converting: a quarter of the work for a stack of four
        n_channels = newest_frame_channels(observations.shape[1], newest_channels)
        return observations[:, -n_channels:].float() / 255.0
    if isinstance(space, spaces.Discrete):
        return _encode_discrete(observations, space)
    if isinstance(space, spaces.MultiDiscrete):
        return _encode_multi_discrete(observations, space)
    return observations.reshape(len(observations), -1).float()


def check_observation_space(space: spaces.Space) -> None:
    """One sentence where an observation space cannot be encoded.

    :raises ValueError: for nested Dicts, Tuples, Text, Graph and other spaces SB3's algorithms do not take either
    """
    parts = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    for key, part in parts.items():
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise ValueError(
                f"Observations of type {type(part).__name__} ({key!r}) are not supported: use Box, Discrete, MultiDiscrete, "
                "MultiBinary or a flat Dict of these (gymnasium.wrappers.FlattenObservation makes one)."
            )


def check_action_space(space: spaces.Space) -> None:
    """One sentence where an action space cannot be encoded.

    :raises ValueError: for any but Discrete, MultiDiscrete, MultiBinary and Box
    """
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box):
        raise ValueError(
            f"Actions of type {type(space).__name__} are not supported: use Discrete, MultiDiscrete, MultiBinary or Box."
        )


def check_actions_start_at_0(space: spaces.Space) -> None:
    """One sentence for discrete actions that Stable-Baselines3 would send wrongly.

    :raises ValueError: for a Discrete space that starts elsewhere
    """
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise ValueError(
            f"Stable-Baselines3 sends the actions 0 to n - 1 whatever a Discrete space starts at, and this one starts at "
            f"{space.start}: wrap the environment so that its actions start at 0."
        )


def describe_space(space: spaces.Space) -> str:
    """One line that tells spaces apart as far as networks care: type, shape, dtype, counts and bounds."""
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {describe_space(part)}" for key, part in space.spaces.items()) + ")"
    if isinstance(space, spaces.Discrete):
        return f"Discrete({int(space.n)}, start={int(space.start)})"
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete({space.nvec.tolist()}, start={space.start.tolist()})"
    if isinstance(space, spaces.Box):
        low, high = np.unique(space.low), np.unique(space.high)
        bounds = f"{low[0]}..{high[0]}" if len(low) == len(high) == 1 else f"{space.low.tolist()}..{space.high.tolist()}"
        return f"Box({bounds}, {space.shape}, {space.dtype})"
    return repr(space)
