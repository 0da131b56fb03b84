"""The best settings as an entry of the RL Zoo, as a script, and as a command line."""

import shlex
import subprocess
import sys

import pytest
import yaml

from sb3_infomax import AuxiliaryLoss, IntrinsicReward, LocalGlobalCNN
from sb3_infomax.cli import make_parser
from sb3_infomax.compare.spec import RunSpec, parse_method
from sb3_infomax.envs import PACMAN
from sb3_infomax.tune.export import fresh_seeds, proposed_command
from sb3_infomax.tune.forms import snippet, zoo_entry
from sb3_infomax.tune.search import plan_search
from sb3_infomax.tune.study import StudySpec

LAKE = {"map_name": "8x8", "max_episode_steps": 50}
RUNS = [
    RunSpec(
        "FrozenLake-v1", "ppo:n_steps=32,policy_kwargs={'net_arch': [8]}+rnd:preset=paper,n_epochs=1", 64, env_kwargs=LAKE
    ),
    RunSpec("MiniGrid-Empty-5x5-v0", "c51:learning_starts=8+emi:coef=0.1+cpc:k=2,batch_size=16", 32, n_envs=2),
    RunSpec("Pendulum-v1", "a2c", 32, normalize="observations", env_wrappers=["gymnasium.wrappers:FlattenObservation"]),
]


def test_a_script_runs_as_pasted(tmp_path):
    """In a fresh interpreter, one after the other."""
    scripts = []
    for index, spec in enumerate(RUNS):
        scripts.append(tmp_path / f"script_{index}.py")
        scripts[-1].write_text(snippet(spec).replace('"tuned"', f'"tuned_{index}"'))
        assert max(map(len, scripts[-1].read_text().splitlines())) < 160
    run_each = "import runpy, sys; [runpy.run_path(path) for path in sys.argv[1:]]"
    subprocess.run([sys.executable, "-c", run_each, *map(str, scripts)], cwd=tmp_path, check=True, capture_output=True)
    assert len(list(tmp_path.glob("tuned_*.zip"))) == len(RUNS)


@pytest.mark.parametrize("spec", RUNS, ids=lambda spec: spec.env)
def test_an_entry_of_the_zoo_makes_the_same_callbacks(spec):
    entry = yaml.safe_load(zoo_entry(spec))[spec.env]
    classes = {"sb3_infomax.IntrinsicReward": IntrinsicReward, "sb3_infomax.AuxiliaryLoss": AuxiliaryLoss}
    made = [classes[name](**arguments) for item in entry.get("callback", []) for name, arguments in item.items()]
    method = parse_method(spec.method)
    assert len(made) == bool(method.rewards) + len(method.losses)
    assert entry["n_timesteps"] == spec.timesteps and entry["policy"].endswith("Policy")
    if "policy_kwargs" in entry:
        assert entry["policy_kwargs"] == method.algorithm.settings["policy_kwargs"]


def test_an_entry_names_the_algorithm_as_the_zoo_does():
    assert "--algo ppo_lstm --env CartPole-v1" in zoo_entry(RunSpec("CartPole-v1", "recurrentppo", 64))


def test_small_pictures_bring_their_convolutions_along():
    spec = RunSpec(PACMAN, "c51:policy_kwargs={'net_arch': []}", 100)
    entry = yaml.safe_load(zoo_entry(spec))[PACMAN]
    assert entry["policy"] == "CnnPolicy"
    assert eval(entry["policy_kwargs"]) == {"features_extractor_class": LocalGlobalCNN, "net_arch": []}
    script = snippet(spec)
    assert "from sb3_infomax import C51, LocalGlobalCNN" in script and '"features_extractor_class": LocalGlobalCNN' in script


def test_the_comparison_is_a_command_line_with_fresh_seeds():
    base = RunSpec("FrozenLake-v1", "ppo+emi", 100, env_kwargs=LAKE, n_envs=2, eval_points=4, algo_kwargs={"n_steps": 32})
    spec = StudySpec(base, (0, 2), plan_search("ppo+emi"))
    assert fresh_seeds(spec, 3) == [1, 3, 4]
    best = spec.search.method_of(spec.search.start)
    arguments = make_parser().parse_args(shlex.split(proposed_command(spec, best))[1:])
    assert arguments.methods == ["default=ppo+emi", f"tuned={best}"] and arguments.seeds == "1,3,4,5,6"
    assert arguments.env_arg == ["map_name=8x8", "max_episode_steps=50"] and arguments.n_envs == 2
