#!/usr/bin/env bash
# C51 and DQN on one task of PacMan, the native 21 x 19 picture, equal settings but for the learning rate, C51 with the paper's
# epsilon of Adam (0.01 / batch size) and with a small one: 100,000 steps, about a minute of one core a run. Stopped, it goes on where it was: bash tuning/c51_pacman.sh [FOLDER] [WORKERS]
set -euo pipefail
out=${1:-runs/c51_pacman}

# rewards are divided by 100; 32 transitions every 8 steps, one of each environment
network="{'convolutions': [[16, 3, 2, 1], [32, 3, 2, 1], [32, 3, 2, 1]], 'features_dim': 128}"
policy="'features_extractor_kwargs': $network, 'net_arch': []"
settings=(gamma=0.9 n_steps=3 batch_size=32 train_freq=1 learning_starts=1000 buffer_size=100000 target_update_interval=200
    exploration_fraction=0.1 exploration_final_eps=0.05)
# each has the better of 1e-3 and 2e-3 in 60,000 steps: C51, with the small epsilon, on seeds 100 to 102, DQN on seed 100
dqn="dqn:learning_rate=1e-3,policy_kwargs={$policy}"
c51="c51:learning_rate=2e-3,v_min=-2,v_max=10,policy_kwargs={$policy, 'optimizer_kwargs': {'eps': 1e-5}}"
paper="c51:learning_rate=2e-3,v_min=-2,v_max=10,policy_kwargs={$policy}"
sb3-infomax compare "DQN=$dqn" "C51=$c51" "C51, the paper's epsilon=$paper" --env sb3_infomax/PacMan-v0 --env-arg reward_scale=0.01 --n-envs 8 \
    --seeds 5 --timesteps 100000 --eval-points 10 --eval-episodes 20 --eval-actions sampled --algo-arg "${settings[@]}" \
    --workers "${2:-2}" --out "$out"
