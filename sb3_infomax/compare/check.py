"""Does the bonus reach the learner in the user's own stack, what does it cost, and how large should its coefficient be."""

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_infomax.common.arguments import parameters_of
from sb3_infomax.compare.algorithms import (
    is_on_policy,
    make_intrinsic_reward,
    make_model,
    resolve_algorithm,
)
from sb3_infomax.compare.comparison import check_spec
from sb3_infomax.compare.environments import is_video_game
from sb3_infomax.compare.spec import Method, Part, RunSpec, parse_method
from sb3_infomax.compare.worker import learn_settings, training_env

if TYPE_CHECKING:
    from rich.console import Console

ROUNDS = 4  # interleaved pieces of every short run; the first warms up and is not timed
OFF_POLICY_STEPS = 500  # of each piece


class AdvantagesBefore(BaseCallback):
    """Keeps the advantages as they are without the bonus; stands before ``IntrinsicReward``."""

    advantages: np.ndarray | None = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if isinstance(self.model, OnPolicyAlgorithm):
            self.advantages = self.model.rollout_buffer.advantages.copy()


@dataclass
class Measured:
    """What was seen of one short run, one number per rollout or batch of steps."""

    bonus_mean: list[float] = field(default_factory=list)
    bonus_std: list[float] = field(default_factory=list)
    coef: list[float] = field(default_factory=list)
    extrinsic_std: list[float] = field(default_factory=list)  # of the advantages without bonus, on-policy
    intrinsic_std: list[float] = field(default_factory=list)  # of what coef x bonus adds to them; off-policy of itself
    rewards: list[np.ndarray] = field(default_factory=list)  # of every step, shape (n_envs,)


class Measure(BaseCallback):
    """Reads what the bonus did to a rollout; stands after ``IntrinsicReward``.

    :param before: what the advantages were
    """

    def __init__(self, before: AdvantagesBefore) -> None:
        super().__init__()
        self.before = before
        self.seen = Measured()

    def _on_step(self) -> bool:
        self.seen.rewards.append(np.array(self.locals["rewards"], dtype=np.float64))
        return True

    def _on_rollout_end(self) -> None:
        logged = self.logger.name_to_value
        if "intrinsic/bonus_std" not in logged:
            return
        self.seen.bonus_mean.append(float(logged["intrinsic/bonus_mean"]))
        self.seen.bonus_std.append(float(logged["intrinsic/bonus_std"]))
        self.seen.coef.append(float(logged.get("intrinsic/coef", 1.0)))
        if isinstance(self.model, OnPolicyAlgorithm) and self.before.advantages is not None:
            shift = self.model.rollout_buffer.advantages - self.before.advantages
            self.seen.extrinsic_std.append(float(self.before.advantages.std()))
            self.seen.intrinsic_std.append(float(shift.std()))
        elif isinstance(self.model, OffPolicyAlgorithm):
            self.seen.intrinsic_std.append(abs(self.seen.coef[-1]) * self.seen.bonus_std[-1])


class Tally(gym.Wrapper):
    """Adds up what the environment itself pays, below ``Monitor`` and everything else.

    :param env: as its author wrote it
    :param returns: where the return of each finished episode goes
    """

    def __init__(self, env: gym.Env, returns: list[float]) -> None:
        super().__init__(env)
        self.returns, self.total = returns, 0.0

    def reset(self, **kwargs: Any) -> Any:
        self.total = 0.0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        if terminated or truncated:
            self.returns.append(self.total)
        return observation, reward, terminated, truncated, info


class VecTally(VecEnvWrapper):
    """:class:`Tally` for environments that are not gymnasium's.

    :param venv: the innermost vector environment
    :param returns: where the return of each finished episode goes
    """

    def __init__(self, venv: VecEnv, returns: list[float]) -> None:
        super().__init__(venv)
        self.returns, self.totals = returns, np.zeros(venv.num_envs)

    def reset(self) -> VecEnvObs:
        self.totals[:] = 0.0
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        self.totals += rewards
        self.returns += self.totals[dones].tolist()
        self.totals[dones] = 0.0
        return observations, rewards, dones, infos


def tally(env: VecEnv) -> list[float]:
    """Put a :class:`Tally` into each environment; the list that they fill, in the order in which episodes end."""
    returns: list[float] = []
    if not isinstance(env.unwrapped, DummyVecEnv):
        while isinstance(env, VecEnvWrapper) and isinstance(env.venv, VecEnvWrapper):
            env = env.venv
        assert isinstance(env, VecEnvWrapper)
        env.venv = VecTally(env.venv, returns)
        return returns
    for single in env.unwrapped.envs:
        monitor = unwrap_wrapper(single, Monitor)
        assert monitor is not None
        monitor.env = Tally(monitor.env, returns)
    return returns


class ShortRun:
    """One of the short runs: plain, with coefficient 0, or with the bonus as asked.

    :param spec: what the user would train
    :param method: with the reward as it runs here, without it for plain
    """

    def __init__(self, spec: RunSpec, method: Method) -> None:
        self.env = training_env(spec)
        self.model = make_model(spec, self.env, is_video_game(spec.env))
        self.generators = generator_states()
        self.true_returns = tally(self.env)
        self.intrinsic = make_intrinsic_reward(method, spec.seed)
        before = AdvantagesBefore()
        self.measure = Measure(before)
        middle = [] if self.intrinsic is None else [self.intrinsic]
        self.callbacks = CallbackList([before, *middle, self.measure])
        self.cpu_seconds: list[float] = []

    def learn(self, steps: int) -> None:
        """Go on for a number of steps, with random numbers as if alone, and book the CPU time."""
        set_generator_states(*self.generators)
        started = time.process_time()
        self.model.learn(
            steps,
            callback=self.callbacks,
            reset_num_timesteps=self.model.num_timesteps == 0,
            **learn_settings(self.model, self.env),
        )
        self.cpu_seconds.append(time.process_time() - started)
        self.generators = generator_states()


def generator_states() -> tuple[Any, ...]:
    """States of the global generators that Stable-Baselines3 seeds and draws from."""
    cuda = th.cuda.get_rng_state_all() if th.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), th.get_rng_state(), cuda


def set_generator_states(python: Any, numpy: Any, torch: Any, cuda: Any) -> None:
    """The counterpart of :func:`generator_states`."""
    random.setstate(python)
    np.random.set_state(numpy)
    th.set_rng_state(torch)
    if cuda:
        th.cuda.set_rng_state_all(cuda)


def short_settings(spec: RunSpec, piece: int) -> RunSpec:
    """Off-policy algorithms start to learn within the first piece and need no large buffer here.

    :param spec: what the user would train
    :param piece: steps of a piece
    """
    part = parse_method(spec.method).algorithm
    names = parameters_of(resolve_algorithm(part.name))
    short = {"learning_starts": min(100, piece // 2), "buffer_size": 20 * piece}
    settings = {name: value for name, value in short.items() if name in names and name not in part.settings}
    return replace(spec, algo_kwargs={**spec.algo_kwargs, **settings})


def piece_steps(spec: RunSpec, steps: int | None) -> int:
    """Steps between two switches from one run to the other: a rollout, so that each piece holds as many updates."""
    if steps is not None:
        return max(steps // ROUNDS, 1)
    method = parse_method(spec.method)
    if not is_on_policy(resolve_algorithm(method.algorithm.name)):
        return OFF_POLICY_STEPS
    env = training_env(spec)
    model = make_model(spec, env, is_video_game(spec.env))
    env.close()
    assert isinstance(model, OnPolicyAlgorithm)
    return model.n_steps * model.n_envs


def largest_difference(first: BaseAlgorithm, second: BaseAlgorithm) -> float:
    """Largest absolute difference between any two parameters of two policies."""
    pairs = zip(first.policy.state_dict().values(), second.policy.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def run_interleaved(spec: RunSpec, steps: int | None) -> dict[str, ShortRun]:
    """Plain, coefficient 0 and the bonus as asked, from the same seed, piece by piece in turn."""
    method = parse_method(spec.method)
    first = method.rewards[0]
    zero = Part(first.name, {**first.settings, "coef": 0.0, "ext_coef": 1.0})
    others = tuple(Part(part.name, {k: v for k, v in part.settings.items() if k != "coef"}) for part in method.rewards[1:])
    piece = piece_steps(spec, steps)
    spec = short_settings(spec, piece)
    runs = {
        "plain": ShortRun(spec, replace(method, rewards=())),
        "zero": ShortRun(spec, replace(method, rewards=(zero, *others))),
        "bonus": ShortRun(spec, method),
    }
    for _ in range(ROUNDS):
        for run in runs.values():
            run.learn(piece)
    return runs


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``good`` is ``None`` for what is only told."""

    good: bool | None
    text: str


def reaches(runs: dict[str, ShortRun]) -> list[Finding]:
    """Whether the bonus is there and changes what is learned."""
    seen = runs["bonus"].measure.seen
    steps = runs["bonus"].model.num_timesteps
    if not seen.bonus_std:
        return [Finding(False, f"The bonus was not computed once in {steps:,} steps: give more with --timesteps.")]
    mean, std = np.mean(seen.bonus_mean), np.mean(seen.bonus_std)
    zero = largest_difference(runs["plain"].model, runs["zero"].model)
    changed = largest_difference(runs["plain"].model, runs["bonus"].model)
    coef = seen.coef[-1]
    return [
        Finding(bool(std > 0), f"The bonus varies: mean {mean:.3g}, standard deviation {std:.3g} (before coef = {coef:g})."),
        Finding(
            changed > 0,
            f"It reaches the learner: after {steps:,} steps from the same seed, parameters differ from the plain run's by "
            f"up to {changed:.2g}.",
        ),
        Finding(zero == 0, f"Nothing else does: with coef = 0 the largest difference is {zero:g}."),
    ]


def stays_extrinsic(run: ShortRun) -> Finding:
    """Whether the reported returns are what the environments themselves have paid."""
    reported = [info["r"] for info in run.model.ep_info_buffer or ()]
    if not reported:
        return Finding(None, "No episode ended in the short run, so no return was reported.")
    paid = run.true_returns[-len(reported) :]
    same = len(paid) == len(reported) and bool(np.allclose(paid, reported, rtol=1e-5, atol=1e-5))
    return Finding(
        same,
        f"Reported returns stay the environment's own: rollout/ep_rew_mean is {np.mean(reported):.4g}, and "
        f"{np.mean(paid):.4g} was paid in these {len(reported)} episodes.",
    )


def stored_rewards(run: ShortRun) -> list[Finding]:
    """Whether a replay buffer holds the environment's own rewards."""
    model = run.model
    if not isinstance(model, OffPolicyAlgorithm) or model.replay_buffer is None:
        return []
    rewards = np.array(run.measure.seen.rewards, dtype=np.float32)
    stored = np.asarray(model.replay_buffer.rewards)[: len(rewards)]
    if stored.shape != rewards.shape:
        return []
    gap = float(np.abs(stored - rewards).max())
    return [Finding(gap == 0, f"The replay buffer holds the environment's own rewards (largest difference {gap:g}).")]


def costs(runs: dict[str, ShortRun]) -> Finding:
    """CPU time with the bonus over CPU time without, the median of interleaved pieces."""
    plain, bonus = (np.array(runs[name].cpu_seconds[1:]) for name in ("plain", "bonus"))
    ratios = bonus / plain
    steps = runs["bonus"].model.num_timesteps / ROUNDS
    return Finding(
        None,
        f"Cost: {np.median(ratios):.2f} times the CPU time of the plain run ({ratios.min():.2f} to {ratios.max():.2f}; "
        f"{steps / np.median(bonus):,.0f} against {steps / np.median(plain):,.0f} steps per CPU second).",
    )


def coefficient_hint(run: ShortRun) -> list[Finding]:
    """How strong the bonus is beside the environment's reward, and the coefficient that makes them equal."""
    seen, model = run.measure.seen, run.model
    if not seen.intrinsic_std or np.median(seen.intrinsic_std) == 0:
        return []
    on_policy = isinstance(model, OnPolicyAlgorithm)
    what = "advantages" if on_policy else "rewards"
    strength = float(np.median(seen.intrinsic_std))
    if not np.any(seen.rewards):
        normalised = on_policy and getattr(model, "normalize_advantage", False)
        then = (
            "advantages are normalised, so the scale of coef cancels until a reward is found"
            if normalised
            else "coef alone sets the scale of what is learned"
        )
        told = f"The environment paid nothing in these steps: {then}. Once it pays, coef x bonus (standard deviation of the "
        return [Finding(None, f"{told}{what}: {strength:.2g}) stands beside its reward.")]
    if not on_policy and np.ptp(seen.rewards) == 0:
        pays = f"{seen.rewards[0][0]:g}"
        told = f"The environment paid {pays} at every step; coef x bonus varies by {strength:.2g} beside it."
        return [Finding(None, told)]
    # off-policy rewards are told apart best over the whole run: an early piece may have held a single value
    beside = np.array(seen.extrinsic_std) if on_policy else np.std(seen.rewards)
    ratio = float(np.median(np.array(seen.intrinsic_std) / np.maximum(beside, 1e-12)))
    equal, tenth = (float(f"{seen.coef[-1] / ratio * share:.1g}") for share in (1.0, 0.1))
    return [
        Finding(
            None,
            f"At coef = {seen.coef[-1]:g} the bonus is {ratio:.2g} times as strong as the environment's reward (standard "
            f"deviation of the {what}).",
        ),
        Finding(
            None,
            f"coef = {equal:g} would make them equal, coef = {tenth:g} the bonus a tenth. Try these two first; where the "
            "reward misleads or comes late, the larger one.",
        ),
    ]


def check(spec: RunSpec, steps: int | None, console: "Console") -> int:
    """Run the short runs and report.

    :param spec: what the user would train
    :param steps: of each short run; default four rollouts, or 2000 steps off-policy
    :param console: where to report
    :return: exit code, 1 where something is wrong
    """
    check_spec(spec)
    th.set_num_threads(1)
    with console.status("three short runs in turn: plain, coefficient 0, with the bonus"):
        runs = run_interleaved(spec, steps)
    findings = [*reaches(runs), stays_extrinsic(runs["bonus"]), *stored_rewards(runs["bonus"]), costs(runs)]
    findings += coefficient_hint(runs["bonus"])
    for finding in findings:
        mark, style = {True: ("ok  ", "green"), False: ("FAIL", "bold red"), None: ("    ", "")}[finding.good]
        console.print(f"[{style}]{mark}[/]" if style else mark, end=" ")
        console.print(finding.text, markup=False, highlight=False, soft_wrap=True)
    for run in runs.values():
        run.env.close()
    return int(any(finding.good is False for finding in findings))
