"""One run, from its folder's ``config.json`` to its ``finished.json``.

``python -m sb3_infomax.compare.worker FOLDER`` is what ``compare`` starts for each run: a fresh process with one torch
thread. It ends by itself when the process that started it is gone.
"""

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sb3_infomax.compare.algorithms import first_line, is_on_policy, make_callbacks, make_model, resolve_algorithm
from sb3_infomax.compare.environments import (
    has_time_limit,
    is_mujoco,
    is_video_game,
    make_vec_env,
    normalized,
    success_threshold,
)
from sb3_infomax.compare.spec import Method, RunSpec, UserError, parse_method
from sb3_infomax.compare.storage import MOMENTS, RunFolder, locked, read_json, versions, write_json

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

    from sb3_infomax.callbacks.saved import SavedCallback
    from sb3_infomax.compare.recording import OnEvaluation, Progress


NO_LIMIT = 10**15  # of steps, where only time ends a run


def one_thread_environment() -> dict[str, str]:
    """Environment variables for a process beside others: two busy torch threads per core slow each other 20-fold."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def default_n_envs(spec: RunSpec) -> int:
    """Parallel training environments of a run: as asked, else 8 for on-policy video games and Stable-Baselines3's 1."""
    if spec.n_envs is not None:
        return spec.n_envs
    algorithm = resolve_algorithm(parse_method(spec.method).algorithm.name)
    return 8 if is_video_game(spec.env) and is_on_policy(algorithm) else 1


def normalization(spec: RunSpec) -> tuple[str, float]:
    """What ``VecNormalize`` does in a run, and the discount that it needs."""
    algorithm = parse_method(spec.method).algorithm
    what = spec.normalize
    if what is None:
        what = "both" if is_mujoco(spec.env) and is_on_policy(resolve_algorithm(algorithm.name)) else "none"
    return what, float({**spec.algo_kwargs, **algorithm.settings}.get("gamma", 0.99))


def training_env(spec: RunSpec) -> "VecEnv":
    """The environments that a run learns in."""
    env = make_vec_env(spec.env, default_n_envs(spec), spec.seed, spec.env_kwargs, wrappers=spec.env_wrappers)
    return normalized(env, *normalization(spec))


def evaluation_env(spec: RunSpec) -> "VecEnv":
    """Environments that pay raw rewards, one for each episode of an evaluation."""
    env = make_vec_env(spec.env, spec.eval_episodes, spec.seed, spec.env_kwargs, wrappers=spec.env_wrappers, whole_games=True)
    return normalized(env, *normalization(spec), training=False)


def evaluates_best_action(spec: RunSpec) -> bool:
    """Whether evaluations take the best action: as asked, else sampled actions on-policy and best ones off-policy."""
    if spec.eval_actions is not None:
        return spec.eval_actions == "best"
    return not is_on_policy(resolve_algorithm(parse_method(spec.method).algorithm.name))


def learn_settings(model: "BaseAlgorithm", env: "VecEnv") -> dict[str, Any]:
    """MaskablePPO runs without masks where the environment offers none."""
    if type(model).__name__ != "MaskablePPO":
        return {}
    return {"use_masking": env.has_attr("action_masks")}


def restore(
    spec: RunSpec, method: Method, checkpoint: Path, env: "VecEnv"
) -> "tuple[BaseAlgorithm, dict[str, SavedCallback]] | None":
    """Learner and callbacks of a checkpoint, with random numbers of their own from here on.

    :param checkpoint: its folder
    :param env: fresh training environments
    :return: ``None`` where the checkpoint cannot be used and the run starts over
    """
    from sb3_infomax.compare.recording import read_moments, read_replay_buffer

    read_moments(checkpoint / MOMENTS, env)
    model = resolve_algorithm(method.algorithm.name).load(checkpoint / "model.zip", env=env)
    if not read_replay_buffer(model, checkpoint / "replay_buffer.pkl"):
        return None
    # load() has put the generators back to the run's beginning: the same numbers must not come twice
    model.set_random_seed((spec.seed + model.num_timesteps) % 2**31)
    return model, make_callbacks(method, spec.seed, checkpoint)


def execute(
    spec: RunSpec,
    folder: RunFolder,
    progress: "Progress | None" = None,
    checkpoint_seconds: float = 60.0,
    on_evaluation: "OnEvaluation | None" = None,
) -> dict[str, Any]:
    """Train, evaluate and store; goes on from a checkpoint where there is one, else starts over.

    :param spec: what to run
    :param folder: claimed for this specification
    :param progress: told a few times a second how far it is
    :param checkpoint_seconds: least wall time between two checkpoints
    :param on_evaluation: told the steps and the returns of each evaluation once it is stored; may raise, which ends the run
    :return: the record in ``finished.json``
    """
    from stable_baselines3.common.callbacks import CallbackList

    from sb3_infomax.compare.recording import MAX_EVALUATION_STEPS, Recorder

    method = parse_method(spec.method)
    env, eval_env = training_env(spec), evaluation_env(spec)
    threshold = success_threshold(spec.env) if spec.success_return is None else spec.success_return
    max_steps = None if has_time_limit(spec.env, spec.env_kwargs) else MAX_EVALUATION_STEPS
    folder.failed.unlink(missing_ok=True)
    checkpoint = folder.checkpoint()
    restored = None if checkpoint is None else restore(spec, method, checkpoint, env)
    if restored is None:
        folder.start_over()
        model, callbacks = make_model(spec, env, is_video_game(spec.env)), make_callbacks(method, spec.seed)
    else:
        model, callbacks = restored
    deterministic = evaluates_best_action(spec)
    recorder = Recorder(
        spec, folder, eval_env, threshold, max_steps, callbacks, progress, deterministic, checkpoint_seconds, on_evaluation
    )
    if restored is not None and checkpoint is not None:
        recorder.resume(read_json(checkpoint / "state.json"))
    try:
        with recorder.schedules_follow_the_budget(model):
            model.learn(
                (spec.timesteps or NO_LIMIT) - model.num_timesteps,
                # the recorder saves at the start of a rollout, which has to be before the others prepare for it
                callback=CallbackList([recorder, *callbacks.values()]),
                reset_num_timesteps=restored is None,
                **learn_settings(model, env),
            )
        return finish(folder, model, callbacks, recorder.clock.seconds())
    finally:
        recorder.close()
        env.close()
        eval_env.close()


def finish(
    folder: RunFolder, model: "BaseAlgorithm", callbacks: "dict[str, SavedCallback]", seconds: dict[str, float]
) -> dict[str, Any]:
    """Save the trained model and mark the run as finished, in this order."""
    from sb3_infomax.compare.recording import save_moments

    model.save(folder.model)
    save_moments(model.get_env(), folder.path / MOMENTS)
    for name, callback in callbacks.items():
        callback.save(folder.path / name)
    record = {"timesteps": int(model.num_timesteps), "seconds": seconds, "versions": versions()}
    write_json(folder.finished, record)
    checkpoint = folder.checkpoint()
    if checkpoint is not None:
        import shutil

        shutil.rmtree(checkpoint)
    return record


def end_with_parent() -> None:
    """End this process when the one that started it is gone: its end of our standard input closes."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin: a thread that holds its lock aborts Python's own exit
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(path: str) -> int:
    """Run what a folder describes; a failure is stored as one line, with the traceback in the log."""
    folder = RunFolder(Path(path))
    try:
        import torch as th

        th.set_num_threads(1)
        with locked(folder.path, f"{folder.path} is in use by another process: wait until it ends."):
            own = {"pid": os.getpid()}  # tells these reports from those of an earlier attempt
            execute(folder.spec(), folder, lambda record: write_json(folder.progress, {**record, **own}, durable=False))
    except Exception as error:  # the one place that must survive anything: it tells the user what went wrong
        traceback.print_exc()
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        write_json(folder.failed, {"reason": kind + first_line(error)})
        return 1
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
