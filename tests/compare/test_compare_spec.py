import pytest

from sb3_infomax.compare.comparison import check_spec
from sb3_infomax.compare.spec import (
    Part,
    RunSpec,
    UserError,
    folder_name,
    format_method,
    parse_duration,
    parse_method,
    parse_settings,
    parse_steps,
    parse_value,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1e5", 100_000),
        ("5", 5),
        ("True", True),
        ("false", False),
        ("None", None),
        ("[64, 64]", [64, 64]),
        ("paper", "paper"),
    ],
)
def test_values_are_read_as_python_where_they_are_python(text, value):
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "algorithm", "rewards"),
    [
        ("ppo", Part("ppo"), ()),
        ("PPO+EMI", Part("ppo"), (Part("emi"),)),
        ("ppo+none", Part("ppo"), ()),
        ("ppo+rnd:coef=0.5,preset=paper", Part("ppo"), (Part("rnd", {"coef": 0.5, "preset": "paper"}),)),
        ("ppo:n_steps=512+rnd", Part("ppo", {"n_steps": 512}), (Part("rnd"),)),
        ("ppo+rnd+emi", Part("ppo"), (Part("rnd"), Part("emi"))),
        ("ppo+rnd:coef=1e+3", Part("ppo"), (Part("rnd", {"coef": 1000.0}),)),
        (
            "dqn+my.module:Bonus:net_arch=[64,64],coef=1",
            Part("dqn"),
            (Part("my.module:Bonus", {"net_arch": [64, 64], "coef": 1}),),
        ),
    ],
)
def test_methods_are_read_with_their_settings(text, algorithm, rewards):
    method = parse_method(text)
    assert (method.algorithm, method.rewards, method.label) == (algorithm, rewards, text)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("ppo+emi:coef=0.1", "ppo+emi:coef=0.1"),
        ("EMI tuned=ppo+emi:coef=0.1", "EMI tuned"),
        (" PPO+EMI, mine = ppo:n_steps=64 + emi", "PPO+EMI, mine"),
        ("dqn+my.module:Bonus:a=1", "dqn+my.module:Bonus:a=1"),
        ("mine=dqn+my.module:Bonus", "mine"),
    ],
)
def test_a_label_stands_before_the_method(text, label):
    assert parse_method(text).label == RunSpec("CartPole-v1", text, 1).label == label
    assert parse_method(text).algorithm.name in ("ppo", "dqn")


@pytest.mark.parametrize(
    "parts",
    [
        [Part("ppo")],
        [Part("ppo", {"learning_rate": 1e-05, "policy_kwargs": {"net_arch": [64, 64], "note": "a+b,c=d:e=f"}}), Part("emi")],
        [Part("dqn", {"x": True, "y": None, "z": "5", "w": ""}), Part("rnd", {"preset": "paper"}), Part("infonce", {"k": 3})],
        [Part("ppo"), Part("my.module:Bonus", {"text": 'it\'s "so"=1', "path": "a/b.c"})],
    ],
)
def test_a_method_written_as_text_is_read_back(parts):
    method = parse_method(format_method(parts, "a label"))
    assert method == parse_method("a label=" + format_method(parts))
    assert [method.algorithm, *method.rewards, *method.losses] == parts


def test_dots_nest_settings():
    settings = parse_method("ppo:policy_kwargs.net_arch=[64, 64],policy_kwargs.ortho_init=False,gamma=0.9").algorithm.settings
    assert settings == {"policy_kwargs": {"net_arch": [64, 64], "ortho_init": False}, "gamma": 0.9}


@pytest.mark.parametrize("loss", ["infonce", "sb3_infomax.auxiliary.infonce:InfoNCE"])
def test_auxiliary_losses_are_told_from_rewards(loss):
    method = parse_method(f"qrdqn+rnd+{loss}:horizon=ada,coef=0.5+curl")
    assert method.rewards == (Part("rnd"),)
    assert method.losses == (Part(loss, {"horizon": "ada", "coef": 0.5}), Part("curl"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ppo+infonce:horizn=ada", "horizn"),
        ("ppo+infonce:horizon=far", "horizon must be"),
        ("ppo+infonce:every=0", "every must be"),
        ("ppo+infonce:preset=atari", "Unknown preset"),
        ("trpo+infonce", "natural gradient"),
        ("ppo+curl", "CURL compares shifted pictures"),
    ],
)
def test_auxiliary_losses_that_cannot_run_are_refused_before_anything_starts(text, message):
    with pytest.raises(UserError, match=message):
        check_spec(RunSpec("CartPole-v1", text, 100))


@pytest.mark.parametrize("text", ["", "+rnd", "  "])
def test_methods_that_cannot_be_read_are_refused(text):
    with pytest.raises(UserError, match="Cannot read the method"):
        parse_method(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [(["coef"], "key=value"), (["a=1", "a=2"], "given twice"), (["1=2"], "key=value"), (["a=1", "a.b=2"], "given twice")],
)
def test_settings_that_cannot_be_read_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        parse_settings(settings)


@pytest.mark.parametrize(("text", "steps"), [("1e6", 1_000_000), ("60_000", 60_000), ("7", 7)])
def test_steps_are_read(text, steps):
    assert parse_steps(text) == steps


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "many", "nan", "inf"])
def test_steps_must_be_positive_whole_numbers(text):
    with pytest.raises(UserError, match="not a number of time steps"):
        parse_steps(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"timesteps": None},
        {"cpu_seconds": 0.0},
        {"normalize": "all"},
        {"timesteps": 0},
        {"n_envs": 0},
        {"eval_points": 0},
        {"eval_episodes": 0},
        {"eval_actions": "worst"},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(UserError):
        RunSpec(**{"env": "CartPole-v1", "method": "ppo", "timesteps": 10, **wrong})


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h 30m", 5400), ("2H", 7200)])
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "ten minutes", "5m3", "-5m", ""])
def test_times_need_a_unit(text):
    with pytest.raises(UserError, match="is not a time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("steps", "seconds", "budget", "share"),
    [(100, None, "100 steps", 0.5), (None, 60, "60 s of CPU time", 0.25), (100, 20, "100 steps or 20 s of CPU time", 0.75)],
)
def test_the_budget_is_steps_or_time_whichever_ends_first(steps, seconds, budget, share):
    spec = RunSpec("CartPole-v1", "ppo", steps, cpu_seconds=seconds)
    assert spec.budget == budget and spec.share(50, 15.0) == share and spec.share(1000, 1000.0) == 1


def test_specifications_survive_json_and_name_what_differs():
    spec = RunSpec("CartPole-v1", "ppo", 10, algo_kwargs={"net": (1, 2)})
    assert RunSpec.from_json(spec.to_json()) == spec
    assert spec.differences(RunSpec("CartPole-v1", "ppo", 20, algo_kwargs={"net": [1, 2]})) == ["timesteps"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("ALE/Pong-v5", "ALE-Pong-v5"), ("ppo+rnd:coef=0.5,preset=paper", "ppo+rnd-coef=0.5-preset=paper"), ("..", "run")],
)
def test_folder_names_are_safe(text, name):
    assert folder_name(text) == name
