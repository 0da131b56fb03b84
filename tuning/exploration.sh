#!/usr/bin/env bash
# PPO with and without a bonus on four sparse-reward tasks, 5 seeds each; the tables of tuning/results/README.md.
# Stopped, it goes on where it was. About an hour and a half of CPU time: bash tuning/exploration.sh [FOLDER] [WORKERS]
set -euo pipefail
out=${1:-runs/exploration}
methods=(ppo ppo+rnd ppo+icm ppo+emi)
shared=(--seeds 5 --n-envs 8 --workers "${2:-2}"
    --algo-arg n_steps=256 batch_size=256 n_epochs=4 learning_rate=1e-3)

sb3-infomax demo --seeds 5 --workers "${2:-2}" --out "$out/frozen_lake_16x16"
sb3-infomax compare "${methods[@]}" --env MiniGrid-DoorKey-5x5-v0 --timesteps 50000 "${shared[@]}" \
    --eval-points 2 --eval-episodes 5 --out "$out/minigrid_doorkey_5x5"
sb3-infomax compare "${methods[@]}" --env PointMaze_Medium-v3 --timesteps 50000 "${shared[@]}" \
    --eval-points 4 --eval-episodes 5 --out "$out/point_maze_medium"
sb3-infomax compare "${methods[@]}" --env MiniGrid-Empty-8x8-v0 --timesteps 20000 "${shared[@]}" \
    --eval-points 1 --eval-episodes 5 --out "$out/minigrid_empty_8x8"
