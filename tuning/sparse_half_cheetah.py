"""
Figure 4b of EMI (https://arxiv.org/abs/1810.01176): TRPO with and without EMI's bonus on SparseHalfCheetah.

One process is one seed::

    python tuning/sparse_half_cheetah.py trpo+emi --seed 0
    python tuning/sparse_half_cheetah.py trpo --seed 0 --steps 2_000_000

A row is appended to ``tuning/results/sparse_half_cheetah/<method>_<seed>.csv`` every 10 iterations (50 000 steps, 100 paths).
A run that was killed goes on from its last checkpoint when the same command is given again, and one that has finished goes
on to a larger ``--steps``.

The set-up is the paper's (and its code's, where the paper is silent): iterations of 10 whole paths of 500 steps, Gaussian
policy of 64 and 32 tanh units, value network of 32 rectified units, both on raw observations; KL step 0.01, discount 0.995,
Monte-Carlo advantages (lambda 1, the time limit counts as an end); EMI's diversity bonus with the locomotion settings.
Published after 5 million steps, 5 seeds: TRPO+EMI about 215 (the table of another version says 195), TRPO 0.
"""

import argparse
import csv
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are tiny: more threads only wait for each other
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import gymnasium as gym
import numpy as np
import torch as th
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from sb3_infomax import IntrinsicReward
from sb3_infomax.envs import SPARSE_HALF_CHEETAH

N_ENVS, PATH_STEPS = 10, 500
STEPS_PER_ITERATION = N_ENVS * PATH_STEPS
ITERATIONS_PER_ROW = 10
ITERATIONS_PER_CHECKPOINT = 50
X_COM = 17  # where the observation holds the centre of mass

# Our columns for what the logger holds, averaged over the iterations of a row
LOGGED = {
    "bonus_mean": "intrinsic/bonus_mean",
    "bonus_std": "intrinsic/bonus_std",
    "residual": "intrinsic/emi_residual",
    "displacement": "intrinsic/emi_displacement",
    "error_norm": "intrinsic/emi_error_norm",
    "mi_state": "intrinsic/emi_mi_state",
    "mi_action": "intrinsic/emi_mi_action",
    "kl_actions": "intrinsic/emi_kl",
    "kl_policy": "train/kl_divergence_loss",
    "line_search_success": "train/is_line_search_success",
    "policy_std": "train/std",
    "value_loss": "train/value_loss",
}
COLUMNS = [
    "method",
    "seed",
    "iteration",
    "step",
    "return_mean",
    "return_max",
    "rewarded_paths",
    "distance_mean",
    "distance_max",
]
COLUMNS += [*LOGGED, "cpu_seconds"]


class EndAtTimeLimit(gym.Wrapper):
    """Call the time limit a termination, as rllab's Monte-Carlo returns do (SB3 would add the value of the last state)."""

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, truncated, info


class Networks(nn.Module):
    """Hidden layers with tanh for the policy and rectifiers for the value, which SB3's own extractor cannot mix."""

    latent_dim_pi, latent_dim_vf = 32, 32

    def __init__(self, features_dim: int) -> None:
        super().__init__()
        self.policy_net = nn.Sequential(nn.Linear(features_dim, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh())
        self.value_net = nn.Sequential(nn.Linear(features_dim, 32), nn.ReLU())

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.policy_net(features), self.value_net(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        return self.policy_net(features)

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return self.value_net(features)


class PaperPolicy(ActorCriticPolicy):
    """The policy and value function of the paper's code: see :class:`Networks`; Xavier-uniform weights, zero biases."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Networks(self.features_dim)  # type: ignore[assignment]

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """The same numbers as SB3's own, without building a distribution: a third of the time of a step."""
        latent_pi, latent_vf = self.mlp_extractor(obs.float())
        mean = self.action_net(latent_pi)
        noise = th.zeros_like(mean) if deterministic else th.randn_like(mean)
        log_prob = -(0.5 * noise.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)
        return mean + noise * self.log_std.exp(), self.value_net(latent_vf), log_prob


class Record(BaseCallback):
    """Append a row to the table every 10 iterations, and keep a checkpoint every 50."""

    def __init__(self, method: str, seed: int, table: Path, checkpoints: Path, bonus: IntrinsicReward | None) -> None:
        super().__init__()
        self.method, self.seed, self.table, self.checkpoints, self.bonus = method, seed, table, checkpoints, bonus
        self.model: TRPO
        self._cpu_before = _cpu_seconds_in(table) - time.process_time()
        self._logged: list[dict[str, float]] = []
        self._distances: list[float] = []

    @property
    def iteration(self) -> int:
        return self.num_timesteps // STEPS_PER_ITERATION

    def _on_rollout_start(self) -> None:
        # The policy has just been trained on the last rollout: model and bonus are in step here
        if self.iteration and self.iteration % ITERATIONS_PER_CHECKPOINT == 0:
            self.save()

    def _on_training_end(self) -> None:
        self.save()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._distances += np.abs(self.model.rollout_buffer.observations[:, :, X_COM]).max(axis=0).tolist()
        logged = self.logger.name_to_value
        self._logged.append({column: logged[key] for column, key in LOGGED.items() if key in logged})
        if self.iteration % ITERATIONS_PER_ROW == 0:
            self._write_row()
            self._logged, self._distances = [], []

    def _write_row(self) -> None:
        assert self.model.ep_info_buffer is not None
        returns = np.asarray([episode["r"] for episode in self.model.ep_info_buffer])  # the last 100 paths
        row: dict[str, Any] = {
            "method": self.method,
            "seed": self.seed,
            "iteration": self.iteration,
            "step": self.num_timesteps,
        }
        row |= {"return_mean": returns.mean(), "return_max": returns.max(), "rewarded_paths": (returns > 0).mean()}
        row |= {"distance_mean": np.mean(self._distances), "distance_max": np.max(self._distances)}
        row |= {column: _mean([logged[column] for logged in self._logged if column in logged]) for column in LOGGED}
        row |= {"cpu_seconds": self._cpu_before + time.process_time()}
        is_new = not self.table.exists()
        with self.table.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow({column: f"{value:.6g}" if isinstance(value, float) else value for column, value in row.items()})

    def save(self) -> None:
        """Write model and bonus into a new folder, then point to it in one step, so that a kill leaves the older pair."""
        folder = self.checkpoints / str(self.num_timesteps)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model.zip")
        if self.bonus is not None:
            self.bonus.save(folder / "bonus")
        pointer = self.checkpoints / "latest.tmp"
        pointer.write_text(folder.name)
        os.replace(pointer, self.checkpoints / "latest")
        for other in self.checkpoints.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)


def _mean(values: list[float]) -> float | str:
    return float(np.mean(values)) if values else ""


def _read(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def _cpu_seconds_in(table: Path) -> float:
    rows = _read(table)
    return float(rows[-1]["cpu_seconds"]) if rows else 0.0


def _drop_rows_after(table: Path, step: int) -> None:
    """Take back the rows that a killed run wrote after its last checkpoint: they will be made again."""
    rows = [row for row in _read(table) if int(row["step"]) <= step]
    with table.with_suffix(".tmp").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(table.with_suffix(".tmp"), table)


def new_run(method: str, env: Any, seed: int) -> tuple[TRPO, IntrinsicReward | None]:
    """
    TRPO as in rllab, in the words of sb3-contrib, and EMI as for the paper's locomotion tasks.

    :param method: "trpo" or "trpo+emi"
    :param env: 10 environments
    :param seed: of everything
    :return: the algorithm and the bonus, if any
    """
    model = TRPO(
        PaperPolicy,
        env,
        n_steps=PATH_STEPS,
        gamma=0.995,
        gae_lambda=1.0,
        target_kl=0.01,
        cg_max_steps=10,
        cg_damping=1e-5,
        line_search_max_iter=15,
        line_search_shrinking_factor=0.8,
        learning_rate=1e-3,
        n_critic_updates=5,
        batch_size=64,
        policy_kwargs={"optimizer_kwargs": {"eps": 1e-8, "fused": True}},
        seed=seed,
        device="cpu",
    )
    return model, IntrinsicReward("emi", preset="mujoco", seed=seed) if method == "trpo+emi" else None


def resume_run(method: str, env: Any, seed: int, folder: Path) -> tuple[TRPO, IntrinsicReward | None]:
    """
    Read a checkpoint. Environments start new paths and generators a new stream, as between any two iterations.

    :param folder: where :meth:`Record.save` wrote
    :return: the algorithm and the bonus, if any
    """
    model = TRPO.load(folder / "model.zip", env=env, device="cpu")
    model.set_random_seed(seed + 1000 * (model.num_timesteps // STEPS_PER_ITERATION))
    return model, IntrinsicReward.load(folder / "bonus", preset="mujoco", seed=seed) if method == "trpo+emi" else None


def run(method: str, seed: int, steps: int, results: Path, checkpoints: Path) -> None:
    """
    Train one seed up to ``steps`` environment steps, from its last checkpoint if there is one.

    :param results: folder of the table, which is kept under version control
    :param checkpoints: folder of models, which is not
    """
    th.set_num_threads(1)
    results.mkdir(parents=True, exist_ok=True)
    table, checkpoints = results / f"{method}_{seed}.csv", checkpoints / f"{method}_{seed}"
    env = make_vec_env(SPARSE_HALF_CHEETAH, N_ENVS, seed=seed, wrapper_class=EndAtTimeLimit)
    pointer = checkpoints / "latest"
    if pointer.exists():
        model, bonus = resume_run(method, env, seed, checkpoints / pointer.read_text())
    else:
        model, bonus = new_run(method, env, seed)
    _drop_rows_after(table, model.num_timesteps)
    model.set_logger(Logger(folder=None, output_formats=[]))  # read by Record, printed nowhere
    record = Record(method, seed, table, checkpoints, bonus)
    if model.num_timesteps < steps:
        callbacks: list[BaseCallback] = [record] if bonus is None else [bonus, record]
        model.learn(steps - model.num_timesteps, callback=callbacks, log_interval=1, reset_num_timesteps=False)
    env.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Reproduce figure 4b of EMI: one seed of TRPO or TRPO+EMI")
    parser.add_argument("method", choices=["trpo", "trpo+emi"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=lambda text: int(float(text)), default=5_000_000, help="environment steps in all")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "sparse_half_cheetah")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs") / "sparse_half_cheetah")
    arguments = parser.parse_args()
    run(arguments.method, arguments.seed, arguments.steps, arguments.results, arguments.checkpoints)


if __name__ == "__main__":
    main()
