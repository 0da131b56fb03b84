#!/usr/bin/env bash
# C51, C51 with random shifts and DRIML-ada on three Procgen games, equal settings and steps; all games of a seed before the next
# seed. Stopped, it goes on where it was: bash tuning/driml_procgen.sh [FOLDER] [STEPS] [SEEDS] [GAME...]
set -euo pipefail
out=${1:-runs/driml_procgen}
steps=${2:-50000}
seeds=${3:-3}
games=("${@:4}")
[ ${#games[@]} -gt 0 ] || games=(bigfish starpilot coinrun)

# 64 transitions every 16 steps: half of the replay of DQN's defaults. 200 easy levels, evaluated on the same ones. In so short a time
# the paper's epsilon of Adam, 0.01 / batch size, would hold C51 back
settings=(learning_starts=1000 buffer_size="$steps" learning_rate=5e-4 batch_size=64 train_freq=2 n_steps=3 target_update_interval=500
    exploration_fraction=0.3 exploration_final_eps=0.05 "policy_kwargs={'optimizer_kwargs': {'eps': 1e-5}}")
for ((n = 1; n <= seeds; n++)); do
    for game in "${games[@]}"; do
        sb3-infomax compare c51 c51+shift driml:horizon=ada --env "procgen/$game" --env-arg num_levels=200 --n-envs 8 --seeds "$n" \
            --timesteps "$steps" --eval-points 2 --eval-episodes 20 --workers 1 --out "$out/$game" --algo-arg "${settings[@]}"
    done
done
