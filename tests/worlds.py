"""Finite worlds whose exact empowerment is known, as a learned estimate meets them."""

import math
from collections.abc import Callable

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch import Tensor

from sb3_infomax.envs.grid_world import GridWorldEnv
from sb3_infomax.mi.channel import mutual_information
from sb3_infomax.mi.empowerment import empowerment, n_step_channel
from sb3_infomax.networks.dynamics import Dynamics
from sb3_infomax.rewards.empowerment import EmpowermentReward


def true_dynamics(env: GridWorldEnv, encode: Callable[[Tensor], Tensor] | None = None) -> Dynamics:
    """The world itself in place of a learned forward model.

    :param env: observed by the state's number
    :param encode: one-hot states -> features; default the one-hots themselves
    """
    cumulative = th.tensor(env.transition_matrix().cumsum(axis=2), dtype=th.float32)
    one_hots = th.eye(env.n_states)
    table = one_hots if encode is None else encode(one_hots)

    def follow(features: Tensor, actions: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        # features are those of a state exactly
        states = (features @ table.T - 0.5 * table.square().sum(dim=1)).argmax(dim=1)
        reached = (cumulative[actions.argmax(1), states][:, :-1] <= uniform[:, None]).sum(dim=1)
        return table[reached]

    return follow


def bits(module: EmpowermentReward, env: GridWorldEnv) -> NDArray[np.float64]:
    """What a module says of every state."""
    return module.empowerment(th.from_numpy(env.observations)).double().numpy() / math.log(2)


def exact_bits(env: GridWorldEnv, horizon: int) -> NDArray[np.float64]:
    """The capacity of every state's channel."""
    return empowerment(env.transition_matrix(), horizon, unit="bits", tolerance=1e-3)


def uniform_bits(env: GridWorldEnv, horizon: int) -> NDArray[np.float64]:
    """What uniformly random actions tell of the state that they lead to."""
    channel = n_step_channel(env.transition_matrix(), horizon)
    return mutual_information(np.full(channel.shape[1], 1 / channel.shape[1]), channel, unit="bits")


def assert_landscape(
    found: NDArray[np.float64], exact: NDArray[np.float64], mae: float, above: float = 0.02, correlation: float = 0.98
) -> None:
    """Mean error, the highest above the truth, and correlation."""
    assert abs(found - exact).mean() < mae
    assert (found - exact).max() < above
    assert np.corrcoef(found, exact)[0, 1] > correlation
