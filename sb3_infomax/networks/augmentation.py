"""Augmentations of images, on tensors as the buffers give them."""

import torch as th
from gymnasium import spaces
from torch import Tensor

from sb3_infomax.networks.preprocessing import is_channels_first, is_image_space
from sb3_infomax.types import Frames


def random_shift(images: Tensor, pad: int) -> Tensor:
    """Each image moved by up to ``pad`` pixels in both directions, its border repeated.

    Kostrikov, Yarats and Fergus, "Image Augmentation Is All You Need" (DrQ, ICLR 2021), https://arxiv.org/abs/2004.13649.

    :param images: shape (batch, channels, height, width), any dtype
    :param pad: largest shift; 4 for 84 x 84 in DrQ
    :return: same shape and dtype
    """
    batch, _, height, width = images.shape
    shifts = th.randint(-pad, pad + 1, (2, batch, 1), device=images.device)
    rows = (th.arange(height, device=images.device) + shifts[0]).clamp(0, height - 1)
    columns = (th.arange(width, device=images.device) + shifts[1]).clamp(0, width - 1)
    # gathered row by row and column by column: reflects nothing, needs no padded copy and takes uint8
    moved = images.gather(2, rows[:, None, :, None].expand_as(images))
    return moved.gather(3, columns[:, None, None, :].expand_as(images))


def has_images(space: spaces.Space) -> bool:
    """Whether there is anything to shift in observations of ``space``."""
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return any(is_image_space(part) for part in parts)


def shift_images(observations: Frames, space: spaces.Space, pad: int) -> Frames:
    """Raw observations with their images shifted at random; vectors, other keys and ``pad = 0`` change nothing.

    :param observations: shape (batch, *obs_shape), or a dict of such
    :param space: the observation space
    :param pad: largest shift in pixels
    """
    if pad == 0:
        return observations
    if isinstance(space, spaces.Dict):
        assert isinstance(observations, dict)
        return {key: shift_images(value, space.spaces[key], pad) for key, value in observations.items()}  # type: ignore[misc]
    if not is_image_space(space):
        return observations
    assert isinstance(space, spaces.Box) and isinstance(observations, Tensor)
    if is_channels_first(space):
        return random_shift(observations, pad)
    return random_shift(observations.movedim(-1, 1), pad).movedim(1, -1)
