"""``sb3-infomax empowerment-map``: the exact numbers, a learned landscape beside them, and what is refused."""

import csv
import math

import numpy as np
import pytest
import torch as th

from sb3_infomax.cli import main
from sb3_infomax.envs import GRID_WORLD, TWO_ROOMS
from sb3_infomax.rewards.rnd import RND


class Guess(RND):
    """Claims n ln 2 everywhere, and counts the transitions that it was shown."""

    shown = 0

    def __init__(self, *args, horizon=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.horizon = horizon

    def update(self, transitions):
        Guess.shown += len(transitions)
        return super().update(transitions)

    def empowerment(self, observations):
        return th.full((len(observations),), self.horizon * math.log(2))


def rows_of(folder):
    with open(folder / "empowerment.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_exact_numbers_and_a_picture(capsys, tmp_path):
    assert main(["empowerment-map", "--env", TWO_ROOMS, "--horizon", "3", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "4.46" in out and "51 states" in out
    door = [row for row in rows_of(tmp_path) if (row["row"], row["column"]) == ("2", "5")]
    assert float(door[0]["exact"]) == pytest.approx(4.2479, abs=1e-4)
    assert (tmp_path / "empowerment.png").stat().st_size > 10_000 and len(list(tmp_path.iterdir())) == 2


def test_unit_horizon_and_settings_of_the_environment_count(capsys, tmp_path):
    argv = ["empowerment-map", "--env", TWO_ROOMS, "--out", str(tmp_path), "--horizon"]
    means = []
    for more in (["1"], ["2"], ["2", "--unit", "nats"], ["2", "--env-arg", "slip=0.2"]):
        assert main([*argv, *more]) == 0
        means.append(np.mean([float(row["exact"]) for row in rows_of(tmp_path)]))
    one, two, in_nats, slippery = means
    assert one < two and in_nats == pytest.approx(two * math.log(2), abs=1e-5) and slippery < two


@pytest.mark.parametrize("observation", ["index", "image"])
def test_a_module_is_trained_and_shown_beside(capsys, tmp_path, observation):
    Guess.shown = 0
    environment = ["--env", GRID_WORLD, "--env-arg", "layout=..#G", f"observation={observation}"]
    learned = [
        "--learned",
        f"{__name__}:Guess",
        "--timesteps",
        "64",
        "--updates",
        "3",
        "--reward-arg",
        "batch_size=8",
    ]
    assert main(["empowerment-map", *environment, *learned, "--horizon", "2", "--out", str(tmp_path)]) == 0
    assert Guess.shown == 24
    found = [(float(row["exact"]), float(row["learned"])) for row in rows_of(tmp_path)]
    assert found == [(1.0, 2.0), (1.0, 2.0), (0.0, 0.0)]
    assert "mean absolute error 0.667, highest above the exact value +1.000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--env", "CartPole-v1"], "CartPole-v1 cannot be read"),
        (["--env", "FrozenLake-v1", "--horizon", "0"], "at least 1, got 0"),
        (["--env", "FrozenLake-v1", "--env-arg", "colour=red"], "unexpected keyword argument 'colour'"),
        (["--env", "FrozenLake-v1", "--learned", "rnd"], "rnd does not estimate empowerment"),
        (["--env", "FrozenLake-v1", "--learned", "emmpowerment"], "Unknown reward 'emmpowerment'"),
        (["--env", "FrozenLake-v1", "--reward-arg", "horizon=2"], "name it with --learned"),
        (["--env", "FrozenLake-v1", "--updates", "0"], "at least 1, not 0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, tmp_path, monkeypatch, argv, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["empowerment-map", *argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and sentence in err and list(tmp_path.iterdir()) == []
