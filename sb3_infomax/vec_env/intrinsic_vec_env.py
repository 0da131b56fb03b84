"""The reward wrapper: an intrinsic reward for whatever takes a vector environment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_infomax.common.arguments import check_arguments
from sb3_infomax.common.coefficients import Schedule
from sb3_infomax.common.plan import ModuleLike, RewardPlan, plan_arguments
from sb3_infomax.common.saving import SavedFileError, load_state, save_state, state_path
from sb3_infomax.networks.preprocessing import describe_space
from sb3_infomax.types import Frames, Transitions

CENTER_OVER = 2048  # transitions whose mean centres the bonus, about a rollout of PPO


class IntrinsicVecEnv(VecEnvWrapper):
    """Pays ``ext_coef * r + coef * bonus`` for every step.

    .. code-block:: python

        env = IntrinsicVecEnv(make_vec_env("CartPole-v1", 8), "rnd")

    For what takes no callback: ARS, other libraries, plain loops. Elsewhere prefer
    :class:`~sb3_infomax.callbacks.intrinsic_reward.IntrinsicReward`: a wrapper computes its bonus step by step on n_envs
    transitions, freezes it in replay buffers, and changes what every wrapper outside it sees (put ``VecMonitor`` inside, or
    it reports the mixed reward; ``VecNormalize(norm_reward=True)`` inside too; off-policy a ``VecNormalize`` inside makes
    the replay buffer store unmixed rewards). The environment's own reward is in ``infos[i]["extrinsic_reward"]``, the bonus
    (before ``coef``) in ``infos[i]["intrinsic_reward"]``. Evaluate on an environment without it.

    :param venv: the vector environment
    :param module: see ``IntrinsicReward``, as for all but the next
    :param update_every: vector steps between two updates of the modules, on the transitions collected since the last
    :param training: False pays the bonus without learning
    """

    def __init__(
        self,
        venv: VecEnv,
        module: ModuleLike | Sequence[ModuleLike] = "emi",
        coef: float | Schedule | None = None,
        ext_coef: float | Schedule | None = None,
        *,
        weights: Sequence[float] | None = None,
        normalize: str | None = None,
        center: bool | None = None,
        preset: str | None = None,
        module_kwargs: dict[str, Any] | None = None,
        update_every: int = 128,
        training: bool = True,
        device: th.device | str = "auto",
        seed: int | None = None,
        on_nonfinite: Literal["raise", "zero"] = "raise",
    ) -> None:
        check_arguments([IntrinsicVecEnv.__init__], {name: value for name, value in locals().items() if name != "self"})
        super().__init__(venv)
        explicit = {"coef": coef, "ext_coef": ext_coef, "normalize": normalize, "center": center}
        self.plan = RewardPlan(module, preset, module_kwargs, weights, on_nonfinite, explicit)
        if callable(coef) or callable(ext_coef):
            raise ValueError("A wrapper does not know the progress of training: give it numbers, or use IntrinsicReward.")
        if self.plan.knob("gamma", None) is not None or not self.plan.knob("episodic", True):
            raise ValueError("A wrapper pays one reward stream: gamma and episodic need IntrinsicReward and two value heads.")
        if update_every < 1:
            raise ValueError(f"update_every must be at least 1, got {update_every}.")
        self.update_every, self.training = update_every, training
        self.modules, rng = self.plan.build_modules(venv.observation_space, venv.action_space, get_device(device), seed)
        # a vector step is too few to centre by: of one environment every bonus would become exactly 0
        recent_rate = min(1.0, update_every * venv.num_envs / CENTER_OVER)
        self.mixture = self.plan.build_mixture(self.modules, rng, on_policy=True, gamma=0.99, recent_rate=recent_rate)
        self.coef, self.ext_coef = self.plan.coefficients.coef(1.0), self.plan.coefficients.ext_coef(1.0)
        self.observations: Frames | None = None
        self.actions: th.Tensor | None = None
        self.collected: list[Transitions] = []

    def reset(self) -> VecEnvObs:
        """Reset all environments."""
        observations = self.venv.reset()
        self.observations = _frames(observations)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Send the actions."""
        self.actions = th.from_numpy(np.array(actions))
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """:return: observations, mixed rewards, dones, infos"""
        observations, rewards, dones, infos = self.venv.step_wait()
        transitions = self._transitions(observations, dones, infos).to(self.modules[0].ready.device)
        bonus = self.mixture(transitions).cpu().numpy()
        if self.training:
            self._learn(transitions)
        self.observations = _frames(observations)
        for info, reward, value in zip(infos, rewards, bonus, strict=True):
            info["extrinsic_reward"], info["intrinsic_reward"] = float(reward), float(value)
        # a new float array: the environment's may be of integers
        mixed = self.ext_coef * np.asarray(rewards, dtype=np.float32) + self.coef * bonus
        return observations, mixed.astype(np.float32), dones, infos

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """As the environments inside say, but no Monitor: ``evaluate_policy``, and with it ARS, would take its extrinsic
        returns for those of this environment, and the bonus would never reach the learner."""
        wrapped = self.venv.env_is_wrapped(wrapper_class, indices=indices)
        return [False] * len(wrapped) if issubclass(wrapper_class, Monitor) else wrapped

    def _transitions(self, observations: VecEnvObs, dones: np.ndarray, infos: list[dict[str, Any]]) -> Transitions:
        assert self.observations is not None and self.actions is not None
        following = _frames(observations)
        valid = np.ones(self.num_envs, dtype=bool)
        terminations = np.zeros(self.num_envs, dtype=bool)
        for env_index in np.flatnonzero(dones):
            terminations[env_index] = not infos[env_index].get("TimeLimit.truncated", False)
            terminal = infos[env_index].get("terminal_observation")
            valid[env_index] = terminal is not None
            if isinstance(following, dict):
                for key, frames in following.items():
                    frames[env_index] = th.as_tensor(terminal[key]) if terminal is not None else frames[env_index]
            elif terminal is not None:
                following[env_index] = th.as_tensor(terminal)
        return Transitions.from_pairs(
            self.observations, following, self.actions, th.from_numpy(terminations), th.from_numpy(valid)
        )

    def _learn(self, transitions: Transitions) -> None:
        self.collected.append(transitions)
        if len(self.collected) < self.update_every:
            return
        rollout = _concatenate(self.collected, (len(self.collected), self.num_envs))
        self.collected = []
        self.mixture.learn(rollout)

    def save(self, path: str | Path) -> Path:
        """Modules, scalers and generators, in the file format of ``IntrinsicReward``.

        :param path: ``.intrinsic.pt`` is added where it lacks that
        """
        target = state_path(path)
        config = self.plan.config(self.modules) | {"update_every": self.update_every}
        save_state(target, config, 0, {"mixture": self.mixture.state_dict()})
        return target

    @classmethod
    def load(cls, path: str | Path, venv: VecEnv, module: Any = None, **kwargs: Any) -> "IntrinsicVecEnv":
        """A wrapper that continues from :meth:`save`; transitions since the last update are not kept.

        :param path: of the file
        :param venv: the vector environment, of the same spaces
        :param module: needed where it was an instance or is not registered
        :param kwargs: of the constructor, where they shall differ
        """
        config, _, state = load_state(state_path(path))
        for kind, space in {"observation": venv.observation_space, "action": venv.action_space}.items():
            if config.get(f"{kind}_space") != describe_space(space):
                raise SavedFileError(
                    f"{path} was saved for {kind}s {config.get(f'{kind}_space')}, but the environment's are "
                    f"{describe_space(space)}."
                )
        if set(config.get("knobs", ())) & {"gamma", "episodic"}:
            raise SavedFileError(
                f"{path} was saved with gamma or episodic, which a wrapper lacks: load it as IntrinsicReward."
            )
        given = kwargs if module is None else {"module": module, **kwargs}
        every = {"update_every": config["update_every"]} if "update_every" in config else {}
        wrapper = cls(venv, **(every | plan_arguments(config, Path(path), given)))
        try:
            wrapper.mixture.load_state_dict(state["mixture"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise SavedFileError(f"{path} was saved with other settings; pass those it was saved with.") from error
        return wrapper


def _frames(observations: VecEnvObs) -> Frames:
    """Copies, since environments may reuse their arrays."""
    if isinstance(observations, dict):
        return {key: th.from_numpy(np.array(value)) for key, value in observations.items()}
    return th.from_numpy(np.array(observations))


def _concatenate(steps: Sequence[Transitions], shape: tuple[int, int]) -> Transitions:
    """One rollout from the batches of its steps."""
    first = steps[0].frames
    n_frames = 2 * shape[1]
    offsets = th.arange(len(steps), device=steps[0].index.device).repeat_interleave(shape[1]) * n_frames
    frames: Frames
    if isinstance(first, dict):
        frames = {key: th.cat([step.frames[key] for step in steps]) for key in first}  # type: ignore[index]
    else:
        frames = th.cat([step.frames for step in steps])  # type: ignore[misc]
    return Transitions(
        frames=frames,
        index=th.cat([step.index for step in steps]) + offsets,
        next_index=th.cat([step.next_index for step in steps]) + offsets,
        actions=th.cat([step.actions for step in steps]),
        terminations=th.cat([step.terminations for step in steps]),
        valid=th.cat([step.valid for step in steps]),
        shape=shape,
    )
