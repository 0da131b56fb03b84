"""The RL Zoo with our algorithms, rewards and losses: ``python -m sb3_infomax.zoo train --algo driml --env CartPole-v1``."""

from sb3_infomax.zoo.hub import load_from_hub, push_to_hub

__all__ = ["load_from_hub", "push_to_hub"]
