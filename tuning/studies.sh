#!/usr/bin/env bash
# A search for better settings of every reward and algorithm, 20 trials each on a small task and a small budget, and what they are
# worth: the best against the defaults by 5 seeds that they were not chosen on. The tables and pictures of tuning/studies. Stopped, it
# goes on where it was. About half an hour of CPU time on one core: bash tuning/studies.sh [FOLDER] [STUDY ...]
set -euo pipefail
out=${1:-runs/studies}
wanted=" ${*:2} "

study() {  # NAME METHOD OPTIONS...
    [[ "$wanted" == "  " || "$wanted" == *" $1 "* ]] || return 0
    sb3-infomax tune "$2" "${@:3}" --study "$1" --trials 20 --seeds 1 --search-seed 0 --workers 1 --compare 5 --out "$out/$1"
    python -m tuning.publish_study "$out/$1" "tuning/studies/$1"
}

lake=(--env FrozenLake-v1 --env-arg is_slippery=False max_episode_steps=64 --timesteps 3000 --n-envs 8
    --eval-points 10 --eval-episodes 10)
pole=(--env CartPole-v1 --n-envs 4 --eval-points 10 --eval-episodes 5)
support=v_min=0,v_max=100  # returns of 1 a step, discounted by 0.99
driml=(learning_rate gamma target_update_interval exploration_fraction coef horizon k actions)

study c51 "c51:$support" --timesteps 6000 "${pole[@]}"
study ppo_rnd ppo:n_steps=64,n_epochs=4+rnd "${lake[@]}"
study ppo_emi ppo:n_steps=64,n_epochs=4+emi "${lake[@]}"
study ppo_icm ppo:n_steps=64,n_epochs=4+icm "${lake[@]}"
study mirl mirl:train_freq=4 --timesteps 4000 "${pole[@]}"
study ppo_empowerment ppo:n_steps=128,n_epochs=4+empowerment:warmup_steps=4 --timesteps 3000 "${pole[@]}"
study ppo_empowerment_mine ppo:n_steps=128,n_epochs=4+empowerment_mine:warmup_steps=4 --timesteps 3000 "${pole[@]}"
study driml "driml:$support,train_freq=4,batch_size=64" --timesteps 3000 "${pole[@]}" --tune "${driml[@]/#/driml.}"
