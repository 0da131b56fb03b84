"""Does a reward module of one's own keep the contract? One sentence for the first thing that is wrong."""

import copy
import io
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor

from sb3_infomax.randomness import PrivateRNG
from sb3_infomax.registry import REWARDS
from sb3_infomax.rewards.base import RewardModule
from sb3_infomax.types import Frames, Transitions

# what Stable-Baselines3's logger shows of a key before it cuts
MAX_KEY_LENGTH = 36


def check_reward_module(module: RewardModule | type[RewardModule], env: gym.Env, *, n_steps: int = 200, seed: int = 0) -> None:
    """Step an environment at random and hold a reward module against its contract on what was seen.

    Shape, type and finiteness of the bonus; that ``compute`` is deterministic and changes nothing; that rows which are not
    valid get 0 and are not learned from; that a batch, its pieces and a single transition go; that ``update`` learns and
    returns short names and finite numbers; that a file of the state continues exactly; that no random numbers come
    from numpy's or Python's global generators. An instance has its state back afterwards.

    :param module: an instance, or a class that is built with the environment's spaces
    :param env: any environment with the spaces that the module was built for
    :param n_steps: how many random steps; at least 8
    :param seed: of the environment and of the module
    :raises AssertionError: one sentence for the first failure
    :raises ValueError: where the module does not take the spaces at all (its ``check_spaces``)
    """
    _require(n_steps >= 8, f"n_steps must be at least 8, got {n_steps}.")
    cls = module if isinstance(module, type) else type(module)
    name = cls.__name__
    _require(
        issubclass(cls, RewardModule), f"{name} is no RewardModule: derive it from sb3_infomax.rewards.base.RewardModule."
    )
    cls.check_spaces(env.observation_space, env.action_space)
    transitions = random_transitions(env, n_steps, seed)
    global_state = _global_state()
    if isinstance(module, type):
        with PrivateRNG(seed)():
            module = module(env.observation_space, env.action_space)
    _require(
        module.observation_space == env.observation_space and module.action_space == env.action_space,
        f"{name} was built for other spaces than the environment's: {module.observation_space} and {module.action_space}, "
        f"not {env.observation_space} and {env.action_space}.",
    )
    before = _through_a_file(module)
    check = _Check(module, transitions, seed)
    check.observe(transitions)
    check.bonus()
    check.asking_changes_nothing()
    check.pieces()
    check.learning()
    check.one_transition()
    check.saved_state()
    check.masks()
    _require(
        _difference(global_state, _global_state()) is None,
        f"{name} draws from numpy's or Python's global random generators, which would change the run it is attached to: "
        "draw with torch.",
    )
    module.load_state_dict(before)


def random_transitions(env: gym.Env, n_steps: int, seed: int = 0) -> Transitions:
    """What ``n_steps`` random actions in one environment give, as a rollout of shape (n_steps, 1).

    :param env: reset here, and whenever an episode ends
    :param n_steps: number of transitions
    :param seed: of the environment and of the actions
    """
    env.action_space.seed(seed)
    frames, index, actions, terminations = [env.reset(seed=seed)[0]], [], [], []
    for _ in range(n_steps):
        index.append(len(frames) - 1)
        actions.append(env.action_space.sample())
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        frames.append(observation)
        terminations.append(bool(terminated))
        if terminated or truncated:
            frames.append(env.reset()[0])
    rows = th.tensor(index)
    return Transitions(
        frames=_stack(frames, env.observation_space),
        index=rows,
        next_index=rows + 1,
        actions=th.as_tensor(np.array(actions)),
        terminations=th.tensor(terminations),
        valid=th.ones(n_steps, dtype=th.bool),
        shape=(n_steps, 1),
    )


class _Check:
    """One method for each thing that can be wrong."""

    def __init__(self, module: RewardModule, transitions: Transitions, seed: int) -> None:
        self.module, self.transitions, self.seed = module, transitions, seed
        self.name = type(module).__name__

    def bonus(self) -> None:
        bonus = self.compute(self.transitions)
        n = len(self.transitions)
        _require(isinstance(bonus, Tensor), f"{self.name}.compute must return a tensor, not {type(bonus).__name__}.")
        _require(
            bonus.shape == (n,),
            f"{self.name}.compute must return one number per transition, shape ({n},), not {tuple(bonus.shape)}.",
        )
        _require(bonus.dtype == th.float32, f"{self.name}.compute must return float32, not {bonus.dtype}.")
        _require(not bonus.requires_grad, f"{self.name}.compute must return the bonus without a gradient: detach it.")
        _require(bool(th.isfinite(bonus).all()), f"{self.name}.compute returned NaN or infinity for a random rollout.")

    def asking_changes_nothing(self) -> None:
        state, bonus = self.state(), self.compute(self.transitions)
        _require(not self.module.training, f"{self.name} must stay in evaluation mode outside update.")
        changed = _difference(state, self.state())
        _require(changed is None, f"{self.name}.compute must change nothing, but it changes {changed!r}.")
        again = self.compute(self.transitions, seed=self.seed + 1)
        _require(
            th.equal(bonus, again),
            f"{self.name}.compute must be deterministic: two calls on the same transitions gave different bonuses.",
        )

    def masks(self) -> None:
        valid = th.arange(len(self.transitions)) % 3 != 0
        masked = replace(self.transitions, valid=valid)
        full, bonus = self.compute(self.transitions), self.compute(masked)
        _require(bool((bonus[~valid] == 0).all()), f"{self.name}.compute must give 0 where a transition is not valid.")
        _require(
            _close(bonus[valid], full[valid]),
            f"{self.name}.compute gives valid transitions another bonus when others are not valid.",
        )
        # the same valid rows beside other invalid ones
        other = replace(masked, next_index=th.where(valid, masked.next_index, masked.next_index.flip(0)))
        for action in (self.observe, self.update):
            changed = _difference(self.after(action, masked), self.after(action, other))
            _require(
                changed is None,
                f"{self.name}.{action.__name__} must leave out transitions that are not valid, but they reach {changed!r}.",
            )

    def pieces(self) -> None:
        whole = self.compute(self.transitions)
        parts = th.cat([self.compute(part) for part in self.transitions.chunks(len(self.transitions) // 3)])
        _require(
            _close(whole, parts),
            f"{self.name}.compute gives a batch another bonus than its pieces: statistics of the batch belong into observe.",
        )

    def learning(self) -> None:
        before = self.state()
        metrics = self.update(self.transitions)
        _require(
            isinstance(metrics, dict) and all(isinstance(value, float) for value in metrics.values()),
            f"{self.name}.update must return a dict of floats.",
        )
        for key, value in metrics.items():
            logged = f"intrinsic/{_registered_name(type(self.module))}_{key}"
            _require(
                len(logged) <= MAX_KEY_LENGTH,
                f"{self.name}.update returns {key!r}, logged as {logged!r}: at most {MAX_KEY_LENGTH} characters fit.",
            )
            _require(math.isfinite(value), f"{self.name}.update returned {value} for {key!r} on a random rollout.")
        _require(not self.module.training, f"{self.name} must be back in evaluation mode after update.")
        _require(
            _difference(_tensors(before), _tensors(self.state())) is not None,
            f"{self.name}.update learned nothing: no parameter and no buffer changed.",
        )

    def one_transition(self) -> None:
        single = self.transitions.select(th.tensor([0]))
        bonus = self.compute(single)
        _require(
            bonus.shape == (1,) and bool(th.isfinite(bonus).all()),
            f"{self.name}.compute must give one finite number for a single transition, not {bonus.tolist()}.",
        )
        state = self.state()
        metrics = self.update(single)
        _require(
            all(math.isfinite(value) for value in metrics.values()) and bool(th.isfinite(self.compute(single)).all()),
            f"{self.name}.update on a single transition must stay finite (a variance of one number is NaN).",
        )
        self.module.load_state_dict(state)

    def saved_state(self) -> None:
        saved, bonus = _through_a_file(self.module), self.compute(self.transitions)
        metrics, state = self.update(self.transitions), self.state()
        self.module.load_state_dict(saved)
        advice = "make tensors buffers, and give the rest in get_extra_state and set_extra_state."
        _require(
            th.equal(bonus, self.compute(self.transitions)),
            f"{self.name} gives another bonus after loading its saved state: {advice}",
        )
        again = self.update(self.transitions)
        changed = _difference({"update's return value": metrics, **state}, {"update's return value": again, **self.state()})
        _require(
            changed is None,
            f"{self.name} does not continue exactly from its saved state (seen in {changed!r}): {advice}",
        )

    def compute(self, transitions: Transitions, seed: int | None = None) -> Tensor:
        with PrivateRNG(self.seed if seed is None else seed)():
            return self.module.compute(transitions)

    def update(self, transitions: Transitions) -> dict[str, float]:
        with PrivateRNG(self.seed)():
            return self.module.update(transitions)

    def observe(self, transitions: Transitions) -> None:
        with PrivateRNG(self.seed)():
            self.module.observe(transitions)

    def after(self, action: Callable[[Transitions], Any], transitions: Transitions) -> dict[str, Any]:
        """The state that an action leads to; the module has its own back afterwards."""
        before = self.state()
        action(transitions)
        after = self.state()
        self.module.load_state_dict(before)
        return after

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(dict(self.module.state_dict()))


def _require(condition: bool, sentence: str) -> None:
    # an assert statement would vanish under python -O
    if not condition:
        raise AssertionError(sentence)


def _through_a_file(module: RewardModule) -> dict[str, Any]:
    file = io.BytesIO()
    th.save(module.state_dict(), file)
    file.seek(0)
    try:
        return th.load(file, weights_only=True)
    except Exception as error:
        raise AssertionError(
            f"The state of {type(module).__name__} must load with weights_only=True, so it may hold tensors, numbers, text, "
            "lists and dicts only."
        ) from error


def _difference(first: Any, second: Any, path: str = "") -> str | None:
    """Where two nested structures of tensors and plain values differ first; None where they are equal."""
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return path or "its keys"
        pairs = [(f"{path}.{key}".lstrip("."), first[key], second[key]) for key in first]
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        pairs = [(path, a, b) for a, b in zip(first, second, strict=True)]
    elif isinstance(first, Tensor) and isinstance(second, Tensor):
        return None if first.shape == second.shape and th.equal(first, second) else path
    elif isinstance(first, np.ndarray):
        return None if np.array_equal(first, second) else path
    else:
        return None if first == second else path
    return next((found for found in (_difference(a, b, key) for key, a, b in pairs) if found is not None), None)


def _tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _close(first: Tensor, second: Tensor) -> bool:
    # other batch sizes add in another order
    return th.allclose(first, second, rtol=1e-3, atol=1e-5 * (1.0 + float(first.abs().max())))


def _global_state() -> dict[str, Any]:
    return {"numpy": np.random.get_state(), "python": random.getstate()}


def _registered_name(cls: type) -> str:
    path = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, entry in REWARDS.items() if entry is cls or entry == path), cls.__name__.lower())


def _stack(observations: list[Any], space: spaces.Space) -> Frames:
    if isinstance(space, spaces.Dict):
        return {key: th.as_tensor(np.stack([observation[key] for observation in observations])) for key in space.spaces}
    return th.as_tensor(np.stack(observations))
