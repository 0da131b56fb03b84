"""What random actions bring on Procgen's games, beside ``driml_procgen.sh``.

python -m tuning.procgen_random
"""

import numpy as np

from sb3_infomax.vec_env.procgen import make_procgen

N_ENVS, N_STEPS = 64, 20_000  # many episodes of the longest kind, so that short ones do not weigh more


def main() -> None:
    """Mean return of each game."""
    for game in ("bigfish", "starpilot", "coinrun"):
        env, rng = make_procgen(game, n_envs=N_ENVS, num_levels=200, seed=0), np.random.default_rng(0)
        env.reset()
        returns: list[float] = []
        for _ in range(N_STEPS):
            infos = env.step(rng.integers(env.action_space.n, size=N_ENVS))[3]
            returns += [info["episode"]["r"] for info in infos if "episode" in info]
        error = np.std(returns) / np.sqrt(len(returns))
        print(f"{game}: {np.mean(returns):.2f} +- {error:.2f} (standard error), {len(returns)} episodes", flush=True)


if __name__ == "__main__":
    main()
