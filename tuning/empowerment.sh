#!/usr/bin/env bash
# PPO with and without empowerment, 5 seeds each; the tables of tuning/results/README.md. About half an hour of CPU time:
# bash tuning/empowerment.sh [FOLDER] [WORKERS] [TASK]
set -euo pipefail
out=${1:-runs/empowerment}
task=${3:-all}
shared=(--seeds 5 --n-envs 8 --workers "${2:-2}"
    --algo-arg n_steps=256 batch_size=256 n_epochs=4 learning_rate=1e-3)
slow="warmup_steps=500,n_epochs=16" # enough steps for the landscape to be in order before it is paid for

if [[ $task == all || $task == room ]]; then
    python tuning/empowerment_room.py --out "$out/empowerment_room"
fi
if [[ $task == all || $task == cartpole ]]; then
    sb3-infomax compare ppo "ppo+empowerment:horizon=3,$slow" "ppo+empowerment:horizon=3,$slow,ext_coef=0" \
        --env CartPole-v1 --timesteps 50000 "${shared[@]}" --eval-points 4 --eval-episodes 5 --out "$out/empowerment_cartpole"
fi
if [[ $task == all || $task == doorkey ]]; then
    sb3-infomax compare ppo "ppo+empowerment:horizon=2,encoder=random,$slow" --env MiniGrid-DoorKey-5x5-v0 \
        --timesteps 50000 "${shared[@]}" --eval-points 2 --eval-episodes 5 --out "$out/empowerment_doorkey_5x5"
fi
if [[ $task == all || $task == acrobot ]]; then
    sb3-infomax compare ppo "ppo+empowerment:horizon=3,$slow" --env Acrobot-v1 \
        --timesteps 50000 "${shared[@]}" --eval-points 2 --eval-episodes 5 --out "$out/empowerment_acrobot"
fi
