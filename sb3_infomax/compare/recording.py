"""What a run leaves behind: evaluations, training episodes, progress and checkpoints, as one callback."""

import json
import math
import os
import pickle
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_infomax.compare.spec import RunSpec
from sb3_infomax.compare.storage import (
    EVALUATION_COLUMNS,
    MOMENTS,
    MONITOR_COLUMNS,
    RunFolder,
    csv_text,
    read_rows,
    write_atomic,
    write_json,
)
from sb3_infomax.randomness import PrivateRNG

if TYPE_CHECKING:
    from sb3_infomax.callbacks.saved import SavedCallback

SUCCESS_KEYS = ("is_success", "success")
MAX_EVALUATION_STEPS = 10_000  # an evaluation episode is cut there where the environment sets no limit
PROGRESS = "_update_current_progress_remaining"  # where a learner measures how far it is
REPORT_SECONDS = 0.5
MAX_REPLAY_BYTES = 500_000_000  # a larger replay buffer is not put into checkpoints


class Episode(NamedTuple):
    """One whole episode in the bare environment."""

    ret: float  # undiscounted extrinsic return
    length: int  # steps
    success: float  # 1, 0, or NaN where nobody says what success is


class Progress(Protocol):
    """Told from time to time how far a run is."""

    def __call__(self, record: dict[str, Any]) -> None: ...


class OnEvaluation(Protocol):
    """Told the outcome of each evaluation; may raise, which ends the run."""

    def __call__(self, timesteps: int, returns: np.ndarray) -> None: ...


def success_of(info: dict[str, Any], ret: float, threshold: float | None) -> float:
    """Whether an episode succeeded: what the environment says, else whether the return reaches the threshold.

    :param info: of the last step
    :param ret: return of the episode
    :param threshold: return that counts as a success, if any does
    """
    for key in SUCCESS_KEYS:
        if key in info:
            return float(bool(info[key]))
    return float("nan") if threshold is None else float(ret >= threshold)


def evaluate(
    model: BaseAlgorithm,
    env: VecEnv,
    seed: int,
    *,
    deterministic: bool = True,
    threshold: float | None = None,
    max_steps: int | None = None,
) -> list[Episode]:
    """One episode in each of the environments, without touching the learner or its random numbers.

    Every environment gives exactly one episode, so short episodes are not counted more often than long ones.

    :param model: the learner
    :param env: bare environments, each in a ``Monitor``
    :param seed: of the initial states and of sampled actions
    :param deterministic: take the best action rather than a sampled one
    :param threshold: return that counts as a success
    :param max_steps: cut an episode there, for environments without a time limit
    :return: one episode per environment
    """
    max_steps = sys.maxsize if max_steps is None else max_steps
    episodes: list[Episode | None] = [None] * env.num_envs
    env.seed(seed)
    with untouched_generators(model, seed):
        observations: Any = env.reset()
        states: Any = None
        starts = np.ones(env.num_envs, dtype=bool)
        for _ in range(max_steps):
            actions, states = model.predict(
                observations, state=states, episode_start=starts, deterministic=deterministic, **action_masks(model, env)
            )
            observations, _, starts, infos = env.step(actions)
            for index, info in enumerate(infos):
                if episodes[index] is None and "episode" in info:
                    ret = float(info["episode"]["r"])
                    episodes[index] = Episode(ret, int(info["episode"]["l"]), success_of(info, ret, threshold))
            if None not in episodes:
                break
    return [episode if episode is not None else unfinished(env, i) for i, episode in enumerate(episodes)]


@contextmanager
def untouched_generators(model: BaseAlgorithm, seed: int) -> Iterator[None]:
    """Sampled actions draw from generators seeded here; the learner's are afterwards as they were.

    :param model: an epsilon-greedy one draws from numpy and from its action space, the others from torch
    :param seed: of the evaluation
    """
    numpy_state = np.random.get_state()
    space_state = model.action_space.np_random.bit_generator.state
    np.random.seed(seed)
    model.action_space.seed(seed)
    try:
        with PrivateRNG(seed)():
            yield
    finally:
        np.random.set_state(numpy_state)
        model.action_space.np_random.bit_generator.state = space_state


def unfinished(env: VecEnv, index: int) -> Episode:
    """What an episode that was cut off had gathered."""
    rewards = env.get_attr("rewards", indices=[index])[0]
    return Episode(float(np.sum(rewards)), len(rewards), 0.0)


def action_masks(model: BaseAlgorithm, env: VecEnv) -> dict[str, Any]:
    """The masks that MaskablePPO wants beside the observations, where the environment offers them."""
    if type(model).__name__ != "MaskablePPO" or not env.has_attr("action_masks"):
        return {}
    return {"action_masks": np.stack(env.env_method("action_masks"))}


def replay_buffer_bytes(model: BaseAlgorithm) -> int:
    """Memory of the learner's replay buffer, 0 where it has none."""
    if not isinstance(model, OffPolicyAlgorithm) or model.replay_buffer is None:
        return 0
    arrays: list[Any] = []
    for value in vars(model.replay_buffer).values():
        arrays += value.values() if isinstance(value, dict) else [value]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


class Clock:
    """Wall and CPU time of a run, of its training and of its evaluations, over all its attempts.

    :param spent: what earlier attempts took
    """

    def __init__(self, spent: dict[str, float] | None = None) -> None:
        self.spent = {"wall": 0.0, "cpu": 0.0, "evaluation_wall": 0.0, "evaluation_cpu": 0.0, **(spent or {})}
        self.start = (time.perf_counter(), time.process_time())

    def seconds(self) -> dict[str, float]:
        """Seconds until now; ``training_*`` leaves evaluations out."""
        now = dict(self.spent)
        now["wall"] += time.perf_counter() - self.start[0]
        now["cpu"] += time.process_time() - self.start[1]
        return now

    def training_cpu(self) -> float:
        """CPU seconds of training until now."""
        return self.spent["cpu"] - self.spent["evaluation_cpu"] + time.process_time() - self.start[1]

    def add_evaluation(self, wall: float, cpu: float) -> None:
        """Book an evaluation."""
        self.spent["evaluation_wall"] += wall
        self.spent["evaluation_cpu"] += cpu


class Recorder(BaseCallback):
    """Evaluates, records every training episode, reports progress and writes checkpoints.

    It stands first in the list of callbacks and changes nothing: not the learner, not its random numbers.

    :param spec: the run
    :param folder: where its files go
    :param eval_env: bare environments, one per evaluation episode
    :param threshold: return that counts as a success
    :param max_steps: cut evaluation episodes there
    :param callbacks: those of the run by the names of their files, saved with every checkpoint
    :param progress: called a few times a second with a short record
    :param deterministic: evaluate with the best action rather than a sampled one
    :param checkpoint_seconds: least wall time between two checkpoints; shorter runs write none
    :param on_evaluation: told the steps and the returns, shape (episodes,), of each evaluation once it is stored
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunFolder,
        eval_env: VecEnv,
        threshold: float | None = None,
        max_steps: int | None = None,
        callbacks: "dict[str, SavedCallback] | None" = None,
        progress: Progress | None = None,
        deterministic: bool = True,
        checkpoint_seconds: float = 60.0,
        on_evaluation: OnEvaluation | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.folder, self.eval_env, self.threshold = spec, folder, eval_env, threshold
        self.max_steps, self.deterministic, self.callbacks = max_steps, deterministic, callbacks or {}
        self.progress, self.checkpoint_seconds, self.on_evaluation = progress, checkpoint_seconds, on_evaluation
        self.clock = Clock()
        self.evaluations: list[dict[str, Any]] = []
        self.recent: deque[float] = deque(maxlen=20)
        self.next_point = 1
        self.last_report = self.last_checkpoint = time.perf_counter()
        self.monitor: Any = None

    # --- the run's course

    def _on_training_start(self) -> None:
        if not self.folder.monitor.exists():
            header = json.dumps({"t_start": time.time(), "env_id": self.spec.env})
            self.folder.monitor.write_text(f"#{header}\n{','.join(MONITOR_COLUMNS)}\n", encoding="utf-8")
        self.monitor = open(self.folder.monitor, "a", encoding="utf-8")
        if not self.evaluations:
            self.run_evaluation()
        self.report()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.record_episode(info)
        share = self.share()
        if share >= self.next_point / self.spec.eval_points and share < 1:
            self.run_evaluation()
        if time.perf_counter() - self.last_report > REPORT_SECONDS:
            self.report()
        return share < 1 or self.spec.cpu_seconds is None

    def _on_rollout_start(self) -> None:
        if self.num_timesteps > 0 and time.perf_counter() - self.last_checkpoint > self.checkpoint_seconds:
            self.save_checkpoint()

    def _on_training_end(self) -> None:
        self.run_evaluation()
        self.report()
        self.close()

    def close(self) -> None:
        """Close the file of training episodes; harmless when repeated."""
        if self.monitor is not None:
            self.monitor.close()
            self.monitor = None

    def share(self) -> float:
        """How much of the budget is used up, from 0 to 1."""
        return self.spec.share(self.num_timesteps, self.clock.training_cpu())

    def expected_share(self) -> float:
        """As :meth:`share`, with the steps of the last rollout, which goes beyond the budget."""
        steps: float = self.num_timesteps
        if isinstance(self.model, OnPolicyAlgorithm) and self.spec.timesteps is not None:
            rollout = self.model.n_steps * self.model.n_envs
            steps = steps * self.spec.timesteps / (math.ceil(self.spec.timesteps / rollout) * rollout)
        return self.spec.share(steps, self.clock.training_cpu())

    @contextmanager
    def schedules_follow_the_budget(self, model: BaseAlgorithm) -> Iterator[None]:
        """While a run with a budget of time learns, schedules (learning rate, exploration, coefficients) run over that time.

        :param model: the learner, which otherwise measures progress in steps
        """
        if self.spec.cpu_seconds is None:
            yield
            return

        def update(num_timesteps: int, total_timesteps: int) -> None:
            model._current_progress_remaining = 1.0 - self.spec.share(num_timesteps, self.clock.training_cpu())

        setattr(model, PROGRESS, update)
        try:
            yield
        finally:
            delattr(model, PROGRESS)

    # --- what is recorded

    def record_episode(self, info: dict[str, Any]) -> None:
        """Add one training episode."""
        episode = info["episode"]
        success = success_of(info, episode["r"], self.threshold)
        self.recent.append(float(episode["r"]))
        values = (episode["r"], episode["l"], round(self.clock.seconds()["wall"], 3), self.num_timesteps)
        # a success that nobody defined is an empty field
        self.monitor.write(",".join(map(str, values)) + ("," if np.isnan(success) else f",{success:g}") + "\n")

    def run_evaluation(self) -> None:
        """Evaluate now and store the episodes."""
        wall, cpu, training_cpu = time.perf_counter(), time.process_time(), self.clock.training_cpu()
        point = len({row["timesteps"] for row in self.evaluations})
        # every run with this seed meets the same initial states, whatever its method
        seed = 1_000_000 + 10_000 * (self.spec.seed % 100_000) + 100 * point
        share_moments(self.training_env, self.eval_env)
        episodes = evaluate(
            self.model,
            self.eval_env,
            seed,
            deterministic=self.deterministic,
            threshold=self.threshold,
            max_steps=self.max_steps,
        )
        times = (round(self.clock.seconds()["wall"], 3), round(training_cpu, 3))
        self.evaluations += [
            dict(zip(EVALUATION_COLUMNS, (self.num_timesteps, index, *episode, *times), strict=True))
            for index, episode in enumerate(episodes)
        ]
        write_atomic(self.folder.evaluations, csv_text(EVALUATION_COLUMNS, self.evaluations))
        self.next_point = self.point_after(self.share())
        self.clock.add_evaluation(time.perf_counter() - wall, time.process_time() - cpu)
        if self.on_evaluation is not None:
            self.on_evaluation(int(self.num_timesteps), np.array([episode.ret for episode in episodes]))

    def point_after(self, share: float) -> int:
        """Number of the next evaluation.

        :param share: of the budget that is used up
        """
        points = (
            np.arange(1, self.spec.eval_points + 1) / self.spec.eval_points
        )  # compared as floats: 0.29 * 100 is less than 29
        return int(np.searchsorted(points, share, side="right")) + 1

    def latest_evaluation(self) -> float:
        """Mean return of the newest evaluation."""
        newest = self.evaluations[-1]["timesteps"]
        return float(np.mean([row["return"] for row in self.evaluations if row["timesteps"] == newest]))

    def report(self) -> None:
        """Tell how far the run is."""
        self.last_report = time.perf_counter()
        if self.monitor is not None:
            self.monitor.flush()
        if self.progress is not None:
            self.progress(
                {
                    "timesteps": int(self.num_timesteps),
                    "share": self.expected_share(),
                    "evaluation": self.latest_evaluation(),
                    "training": float(np.mean(self.recent)) if self.recent else None,
                    "seconds": self.clock.seconds(),
                }
            )

    # --- checkpoints

    def save_checkpoint(self) -> None:
        """Write everything needed to go on from here; the older checkpoint goes once the new one is whole."""
        started = self.last_checkpoint = time.perf_counter()
        if replay_buffer_bytes(self.model) > MAX_REPLAY_BYTES:
            return
        final = self.folder.path / f"checkpoint_{self.num_timesteps}"
        if final.exists():  # the one that the run has just come from
            return
        partial = final.with_name(final.name + ".tmp")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        self.model.save(partial / "model.zip", exclude=[PROGRESS])
        save_moments(self.training_env, partial / MOMENTS)
        if isinstance(self.model, OffPolicyAlgorithm):
            self.model.save_replay_buffer(partial / "replay_buffer.pkl")
        for name, callback in self.callbacks.items():
            callback.save(partial / name)
        self.monitor.flush()
        state = {
            "timesteps": int(self.num_timesteps),
            "monitor_bytes": os.path.getsize(self.folder.monitor),
            "seconds": self.clock.seconds(),
        }
        write_json(partial / "state.json", state)
        older = self.folder.checkpoint()
        os.replace(partial, final)
        if older is not None:
            shutil.rmtree(older)
        # a large replay buffer is saved more rarely: at most a twentieth of the time goes into checkpoints
        self.last_checkpoint = time.perf_counter()
        self.checkpoint_seconds = max(self.checkpoint_seconds, 20 * (self.last_checkpoint - started))

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: what was recorded after it is cut off.

        :param state: its ``state.json``
        """
        self.clock = Clock(state["seconds"])
        os.truncate(self.folder.monitor, state["monitor_bytes"])
        rows = read_rows(self.folder.evaluations)
        self.evaluations = [row for row in rows if row["timesteps"] <= state["timesteps"]]
        self.next_point = self.point_after(self.spec.share(state["timesteps"], self.clock.training_cpu()))


def read_replay_buffer(model: BaseAlgorithm, path: Path) -> bool:
    """Load the replay buffer of a checkpoint; whether it could be read."""
    if not isinstance(model, OffPolicyAlgorithm):
        return True
    try:
        model.load_replay_buffer(path)
    except (OSError, pickle.UnpicklingError, EOFError):
        return False
    return True


def share_moments(source: VecEnv, target: VecEnv) -> None:
    """Let one vector environment normalize observations as another does, where they do so at all.

    :param source: of training; its moments go on changing
    :param target: of evaluation, which follows them
    """
    first, second = unwrap_vec_normalize(source), unwrap_vec_normalize(target)
    if first is not None and second is not None and first.norm_obs:
        second.obs_rms = first.obs_rms


def save_moments(env: VecEnv | None, path: Path) -> None:
    """Running moments, as ``VecNormalize.load`` reads them; nothing where there are none."""
    normalizer = None if env is None else unwrap_vec_normalize(env)
    if normalizer is not None:
        normalizer.save(str(path))


def read_moments(path: Path, env: VecEnv) -> None:
    """Go on with the running moments of a checkpoint, where there are any."""
    normalizer = unwrap_vec_normalize(env)
    if normalizer is not None:
        saved = VecNormalize.load(str(path), normalizer.venv)
        normalizer.ret_rms = saved.ret_rms
        if normalizer.norm_obs:
            normalizer.obs_rms = saved.obs_rms
