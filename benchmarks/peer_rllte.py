"""RND and ICM of rllte-core (RLeXplore) on the same work, beside ours, in one process.

rllte-core pins versions that break on a current stack, so it gets an environment of its own, see README.md:

    <python of that environment> -m benchmarks.peer_rllte --cases cartpole-ppo cartpole-dqn

RLeXplore gives Stable-Baselines3's users a callback to copy. The two here are written from a description of what that
one does: on-policy one ``compute`` per rollout, whose result is added to advantages and returns; off-policy one ``compute``
and one update on a batch from the replay buffer per vector step. Images are made float32 first, on which its RND otherwise
stops.
"""

import argparse
from functools import partial
from typing import Any

import numpy as np
import torch as th
from rich.console import Console
from rllte.xplore.reward import ICM, RND
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from benchmarks.cases import CASES, PLAIN, TINY, Case, Variant, one_thread, variants_of
from benchmarks.overhead import interleave, print_table, publish, summarise

MODULES = {"rllte rnd": RND, "rllte icm": ICM}


class _Peer(BaseCallback):
    """Common to both: the module, made for the environments of a model (its RND plays 20,480 steps in them)."""

    def __init__(self, module: type, model: BaseAlgorithm) -> None:
        super().__init__()
        self.irs = module(model.get_env(), device="cpu", beta=TINY)

    def samples(
        self, observations: Any, actions: Any, rewards: Any, dones: Any, next_observations: Any
    ) -> dict[str, th.Tensor]:
        """As rllte wants them, shape (n_steps, n_envs, ...)."""
        return {
            "observations": th.as_tensor(observations).float(),
            "actions": th.as_tensor(actions),
            "rewards": th.as_tensor(rewards),
            "terminateds": th.as_tensor(dones),
            "truncateds": th.as_tensor(dones),
            "next_observations": th.as_tensor(next_observations).float(),
        }

    def watch(self) -> dict[str, th.Tensor]:
        """One vector step, shape (1, n_envs, ...), shown to the module."""
        known = self.locals
        before, after = self.model._last_obs, known["new_obs"]
        actions = np.reshape(known["actions"], (1, self.model.n_envs, -1))
        samples = self.samples(before[None], actions, known["rewards"][None], known["dones"][None], after[None])
        self.irs.watch(*(values[0] for values in samples.values()))
        return samples


class PeerOnPolicy(_Peer):
    """At the end of a rollout; the next observation of a step is the one that the buffer holds next."""

    def _on_step(self) -> bool:
        self.watch()
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        following = np.concatenate([buffer.observations[1:], self.locals["new_obs"][None]])
        bonus = self.irs.compute(
            self.samples(buffer.observations, buffer.actions, buffer.rewards, buffer.episode_starts, following), sync=True
        ).numpy()
        buffer.advantages += bonus
        buffer.returns += bonus


class PeerOffPolicy(_Peer):
    """In every step; the bonus goes into the rewards that are about to be stored."""

    def _on_step(self) -> bool:
        bonus = self.irs.compute(self.watch(), sync=False)
        self.locals["rewards"] += bonus.numpy()[0]
        if self.model.replay_buffer.size() * self.model.n_envs >= self.irs.batch_size:
            data = self.model.replay_buffer.sample(self.irs.batch_size)
            parts = (data.observations, data.actions, data.rewards, data.dones, data.next_observations)
            self.irs.update(self.samples(*(part.unsqueeze(1) for part in parts)))
        return True


def attach(module: type, model: BaseAlgorithm) -> BaseCallback:
    """The callback for the model's kind of algorithm."""
    return (PeerOnPolicy if isinstance(model, OnPolicyAlgorithm) else PeerOffPolicy)(module, model)


def with_peer(case: Case) -> dict[str, Variant]:
    """Plain, ours at its defaults, theirs at its defaults."""
    rows = {name: variant for name, variant in variants_of(case).items() if name in (PLAIN, "rnd", "icm")}
    return rows | {name: Variant(partial(attach, module)) for name, module in MODULES.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_rllte", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="default: all")
    parser.add_argument("--rounds", type=int, help="blocks of each variant; default: 5 to 25, by case")
    parser.add_argument("--publish", action="store_true", help="write results/peer_rllte.csv and the table of README.md")
    arguments = parser.parse_args()
    one_thread()
    results = []
    for name in arguments.cases:
        case = CASES[name]
        results += summarise(name, *interleave(case, with_peer(case), arguments.rounds or case.rounds))
        if arguments.publish:
            publish("peer_rllte", results)
    print_table(results, Console())
    for result in results:
        print(f"{result.case}, {result.variant}: {result.setup_seconds:+.1f} CPU s before the first step")


if __name__ == "__main__":
    main()
