"""
Information-theoretic reinforcement learning as drop-in parts for Stable-Baselines3.

The public names below are imported when they are first used (PEP 562), so that ``import sb3_infomax`` costs nothing
and the core (``sb3_infomax.mi``, ``.networks``, ``.rewards``) can be used without Stable-Baselines3.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_infomax.auxiliary.base import AuxiliaryModule
    from sb3_infomax.auxiliary.cpc import CPC
    from sb3_infomax.auxiliary.curl import CURL
    from sb3_infomax.auxiliary.infonce import InfoNCE
    from sb3_infomax.auxiliary.shift import RandomShift
    from sb3_infomax.auxiliary.stdim import STDIM
    from sb3_infomax.c51.c51 import C51
    from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss
    from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
    from sb3_infomax.common.extractors import LocalGlobalCNN
    from sb3_infomax.common.policies import TwoHeadActorCriticPolicy
    from sb3_infomax.driml.driml import DRIML
    from sb3_infomax.mirl.mirl import MIRL
    from sb3_infomax.registry import register_auxiliary, register_reward
    from sb3_infomax.rewards.base import RewardModule
    from sb3_infomax.rewards.checks import check_reward_module
    from sb3_infomax.rewards.emi import EMI
    from sb3_infomax.rewards.empowerment_mine import MINEEmpowerment
    from sb3_infomax.rewards.empowerment_variational import VariationalEmpowerment
    from sb3_infomax.rewards.icm import ICM
    from sb3_infomax.rewards.rnd import RND
    from sb3_infomax.rewards.scaling import RewardScaler
    from sb3_infomax.types import KStepPairs, Transitions
    from sb3_infomax.vec_env.intrinsic_vec_env import IntrinsicVecEnv

__version__ = "0.1.0"

__all__ = [
    "C51",
    "CPC",
    "CURL",
    "DRIML",
    "EMI",
    "ICM",
    "MIRL",
    "RND",
    "STDIM",
    "AuxiliaryLoss",
    "AuxiliaryModule",
    "InfoNCE",
    "IntrinsicReward",
    "IntrinsicVecEnv",
    "KStepPairs",
    "LocalGlobalCNN",
    "MINEEmpowerment",
    "RandomShift",
    "RewardModule",
    "RewardScaler",
    "Transitions",
    "TwoHeadActorCriticPolicy",
    "VariationalEmpowerment",
    "__version__",
    "check_reward_module",
    "register_auxiliary",
    "register_reward",
]

# Public name -> the module that defines it: the imports above, for the interpreter.
_DEFINED_IN = {
    "C51": "c51.c51",
    "CPC": "auxiliary.cpc",
    "CURL": "auxiliary.curl",
    "DRIML": "driml.driml",
    "EMI": "rewards.emi",
    "ICM": "rewards.icm",
    "MIRL": "mirl.mirl",
    "RND": "rewards.rnd",
    "STDIM": "auxiliary.stdim",
    "AuxiliaryLoss": "callbacks.auxiliary_loss",
    "AuxiliaryModule": "auxiliary.base",
    "InfoNCE": "auxiliary.infonce",
    "IntrinsicReward": "callbacks.intrinsic_reward",
    "IntrinsicVecEnv": "vec_env.intrinsic_vec_env",
    "KStepPairs": "types",
    "LocalGlobalCNN": "common.extractors",
    "MINEEmpowerment": "rewards.empowerment_mine",
    "RandomShift": "auxiliary.shift",
    "RewardModule": "rewards.base",
    "RewardScaler": "rewards.scaling",
    "Transitions": "types",
    "TwoHeadActorCriticPolicy": "common.policies",
    "VariationalEmpowerment": "rewards.empowerment_variational",
    "check_reward_module": "rewards.checks",
    "register_auxiliary": "registry",
    "register_reward": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
    globals()[name] = value  # the next access does not come here again
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
