from pathlib import Path

import pytest

from sb3_infomax.cli import make_parser
from sb3_infomax.compare.options import given
from sb3_infomax.compare.settings import (
    DEFAULTS,
    KEYS,
    merge,
    read_file,
    run_specs,
    settings_text,
    told_apart,
    with_earlier,
)
from sb3_infomax.compare.spec import Part, UserError, parse_method

FILE = """
env:
  CartPole-v1:
  CliffWalking-v1: {env_arg: {max_episode_steps: 200}, timesteps: 2e3}
methods:
  - ppo
  - EMI tuned: ppo+emi:coef=0.1
  - small:
      ppo: {learning_rate: 1e-3, n_steps: 1e3, policy_kwargs: {net_arch: [32, 32]}}
      rnd: {preset: paper}
      infonce:
seeds: [3, 7]
timesteps: 1e3
algo-arg: {gamma: 0.9}
env-wrapper: [useless_actions:n=2]
success-return: 20
"""


def written(folder, text):
    path = Path(folder) / "file.yml"
    path.write_text(text)
    return path


def test_a_file_says_what_the_options_say(tmp_path):
    specs = run_specs(merge(DEFAULTS, read_file(written(tmp_path, FILE))))
    assert len(specs) == 2 * 3 * 2 and [spec.seed for spec in specs] == [3] * 6 + [7] * 6
    assert [spec.label for spec in specs[:3]] == ["ppo", "EMI tuned", "small"]
    cart_pole, cliff = specs[0], specs[3]
    assert (cart_pole.timesteps, cliff.timesteps, cliff.env_kwargs) == (1000, 2000, {"max_episode_steps": 200})
    assert cart_pole.env_kwargs == {} and cart_pole.algo_kwargs == {"gamma": 0.9} and cart_pole.success_return == 20
    small = parse_method(specs[2].method)
    assert isinstance(small.algorithm.settings["n_steps"], int)
    assert small.algorithm == Part("ppo", {"learning_rate": 0.001, "n_steps": 1000, "policy_kwargs": {"net_arch": [32, 32]}})
    assert small.rewards == (Part("rnd", {"preset": "paper"}),) and small.losses == (Part("infonce"),)


def test_what_is_stored_is_read_back_as_the_same_runs(tmp_path):
    settings = merge(DEFAULTS, read_file(written(tmp_path, FILE)), {"budget": 90.5, "workers": 2})
    again = read_file(written(tmp_path, settings_text(settings)))
    assert run_specs(merge(DEFAULTS, again)) == run_specs(settings) and "workers" not in again
    assert run_specs(settings)[0].cpu_seconds == 90.5 and run_specs(settings)[0].timesteps is None


def parsed(*argv):
    return given(make_parser().parse_args(["compare", *argv]))


def test_the_command_line_wins_key_by_key(tmp_path):
    file = read_file(written(tmp_path, FILE))
    here = parsed(
        "dqn", "--seeds", "1", "--algo-arg", "n_steps=8", "--env", "Acrobot-v1:max_episode_steps=9", "--budget", "10m"
    )
    (spec,) = run_specs(merge(DEFAULTS, file, here))
    assert (spec.env, spec.env_kwargs, spec.method, spec.seed) == ("Acrobot-v1", {"max_episode_steps": 9}, "dqn", 0)
    assert (spec.algo_kwargs, spec.timesteps, spec.cpu_seconds) == ({"gamma": 0.9, "n_steps": 8}, None, 600)
    assert parsed("ppo", "--env", "CartPole-v1") == {"methods": ["ppo"], "env": {"CartPole-v1": {}}}


def test_every_option_of_compare_is_a_key_of_the_file_and_the_other_way():
    options = set(vars(make_parser().parse_args(["compare"]))) - {"command", "config", "debug", "run", "when_stopped"}
    assert options == set(KEYS)


@pytest.mark.parametrize(
    ("words", "envs"),
    [
        (["CartPole-v1", "ppo", "ppo+rnd"], 1),
        (["A-v1", "B-v1:x=1", "tuned=ppo+emi", "c51"], 2),
        (["module:Id-v0"], 1),
        (["ppo"], 0),
    ],
)
def test_methods_behind_the_environments_are_told_from_them(words, envs):
    assert told_apart(words) == (words[:envs], words[envs:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("envs: CartPole-v1", "Unknown setting of .*file.yml 'envs': did you mean env"),
        ("env: {CartPole-v1: {timestep: 3}}", "'timestep': did you mean timesteps"),
        ("env: {CartPole-v1: {seeds: 3}}", "Unknown setting of .*CartPole-v1 'seeds'"),
        ("env: 3", "env is a text, not 3"),
        ("seeds: many", "Cannot read the seeds"),
        ("seeds: 1.5", "seeds is a whole number"),
        ("seeds: [1, 1]", "given twice"),
        ("timesteps: few", "not a number of time steps"),
        ("budget: 10", "'10' is not a time"),
        ("eval_points: 0", "eval_points is a whole number of at least 1"),
        ("pin: perhaps", "pin is true or false"),
        ("success_return: .nan", "success_return is a number"),
        ("methods: [ppo, ppo]", "given twice"),
        ("methods: {'a=b': ppo}", "cannot have ':' or '='"),
        ("methods: {x: 3}", "'x' is a method such as"),
        ("methods: {x: {ppo: {n_steps: 3}, rnd: 0.5}}", "x: rnd is a text"),
        ("seeds: 3\nseeds: 4", "'seeds' is given twice in the table at line 1"),
        ("a: [", "Cannot read"),
        ("- ppo", "is no table of settings"),
        ("env: !!python/object/apply:os.system [ls]", "Cannot read"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_key(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_file(written(tmp_path, text))


def test_a_missing_file_or_setting_is_told(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        read_file(tmp_path / "nothing.yml")
    for settings in ({"methods": ["ppo"]}, {"env": {"CartPole-v1": {}}}):
        with pytest.raises(UserError, match="compare needs"):
            run_specs(merge(DEFAULTS, settings))


def test_what_is_added_later_joins_what_was_there(tmp_path):
    first = {"env": {"A-v1": {}}, "methods": ["ppo", "dqn"], "seeds": [0, 1], "timesteps": 10}
    path = written(tmp_path, settings_text(first))
    second = {"env": {"B-v1": {"n_envs": 2}}, "methods": ["ppo", "tuned=ppo+rnd"], "seeds": [1, 2], "timesteps": 20}
    both = with_earlier(second, path)
    assert both["env"] == {"A-v1": {}, "B-v1": {"n_envs": 2}} and both["timesteps"] == 20
    assert both["methods"] == ["ppo", "dqn", "tuned=ppo+rnd"] and both["seeds"] == [0, 1, 2]
    assert with_earlier(second, tmp_path / "nothing.yml") == second
