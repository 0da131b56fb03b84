#!/usr/bin/env bash
# A search for better settings of every reward and algorithm, 20 trials each on a small task, and what they are worth: the best
# against the defaults by 5 seeds that they were not chosen on. The tables and pictures of tuning/studies. Stopped, it goes on
# where it was. About half an hour of CPU time on one core: bash tuning/studies.sh [FOLDER] [STUDY ...]
set -euo pipefail
out=${1:-runs/studies}
wanted=" ${*:2} "

study() {  # NAME METHOD OPTIONS...
    [[ "$wanted" == "  " || "$wanted" == *" $1 "* ]] || return 0
    sb3-infomax tune "$2" "${@:3}" --study "$1" --trials 20 --seeds 1 --search-seed 0 --workers 1 --compare 5 --out "$out/$1"
    python -m tuning.publish_study "$out/$1" "tuning/studies/$1"
}

lake=(--env FrozenLake-v1 --env-arg map_name=8x8 is_slippery=False max_episode_steps=128
    --timesteps 6000 --n-envs 8 --eval-points 10 --eval-episodes 10)
pole=(--env CartPole-v1 --n-envs 4 --eval-points 10 --eval-episodes 5)
ppo=ppo:n_steps=128,n_epochs=4
support=v_min=0,v_max=100

study ppo_rnd "$ppo+rnd" "${lake[@]}"
study c51 "c51:$support" --timesteps 6000 "${pole[@]}"
study mirl mirl --timesteps 6000 "${pole[@]}"
study ppo_empowerment "$ppo+empowerment" --timesteps 4000 "${pole[@]}"
study ppo_emi "$ppo+emi" "${lake[@]}"
study driml "driml:$support" --timesteps 6000 "${pole[@]}"
study ppo_icm "$ppo+icm" "${lake[@]}"
study ppo_empowerment_mine "$ppo+empowerment_mine" --timesteps 4000 "${pole[@]}"
study dqn_infonce "dqn+infonce" --timesteps 6000 "${pole[@]}"
