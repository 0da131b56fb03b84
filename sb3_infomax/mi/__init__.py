"""Mutual information: variational bounds, critics, and the exact references they are tested against."""

from sb3_infomax.mi.bounds import (
    barber_agakov,
    donsker_varadhan,
    donsker_varadhan_ema,
    infonce,
    jensen_shannon,
    joint_and_marginal,
    nwj,
)
from sb3_infomax.mi.channel import ChannelCapacity, blahut_arimoto, mutual_information
from sb3_infomax.mi.critics import BilinearCritic, ConcatenatedCritic, Critic, SeparableCritic
from sb3_infomax.mi.empowerment import empowerment, n_step_channel
from sb3_infomax.mi.gaussian import (
    correlated_gaussians,
    gaussian_jensen_shannon,
    gaussian_log_ratio,
    gaussian_mutual_information,
    water_filling,
)

__all__ = [
    "BilinearCritic",
    "ChannelCapacity",
    "ConcatenatedCritic",
    "Critic",
    "SeparableCritic",
    "barber_agakov",
    "blahut_arimoto",
    "correlated_gaussians",
    "donsker_varadhan",
    "donsker_varadhan_ema",
    "empowerment",
    "gaussian_jensen_shannon",
    "gaussian_log_ratio",
    "gaussian_mutual_information",
    "infonce",
    "jensen_shannon",
    "joint_and_marginal",
    "mutual_information",
    "n_step_channel",
    "nwj",
    "water_filling",
]
