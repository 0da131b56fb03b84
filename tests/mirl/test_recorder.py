"""The prior's course, kept and drawn."""

import numpy as np
import pytest
from stable_baselines3 import DQN
from toys import LEARNERS, jump_envs

from sb3_infomax.mirl.mirl import MIRL
from sb3_infomax.mirl.recorder import PriorRecorder


def test_it_keeps_what_the_model_shows_at_the_steps_that_were_asked_for():
    recorder = PriorRecorder(every=20)
    model = MIRL("MlpPolicy", jump_envs(2), **LEARNERS["DQN"][3]).learn(96, callback=recorder)
    assert recorder.timesteps == [0, 20, 40, 60, 80, 96]
    assert recorder.priors[0].tolist() == [0.5, 0.5] and recorder.priors[-1].tolist() == model.prior.tolist()
    assert recorder.diagnostics[-1] == model.diagnostics() and "mutual_information" not in recorder.diagnostics[0]


def test_the_picture_shows_prior_information_and_beta(tmp_path):
    recorder = PriorRecorder(every=10)
    MIRL("MlpPolicy", jump_envs(2), **LEARNERS["DQN"][3]).learn(96, callback=recorder)
    figure = recorder.plot(tmp_path / "prior.png", ["left", "right"])
    shares, nats, inverse = figure.axes
    assert [text.get_text() for text in shares.get_legend().get_texts()] == ["right", "left"]
    np.testing.assert_allclose(inverse.lines[0].get_ydata(), [each["beta"] for each in recorder.diagnostics])
    assert len(nats.lines) == 2 and (tmp_path / "prior.png").stat().st_size > 5000


def test_sixteen_actions_have_sixteen_colours():
    recorder = PriorRecorder()
    recorder.timesteps, recorder.priors = [0, 1], [np.full(16, 1 / 16)] * 2
    recorder.diagnostics = [{"prior_entropy": 2.8, "beta": 1.0}] * 2
    areas = recorder.plot().axes[0].collections
    assert len({tuple(area.get_facecolor()[0]) for area in areas}) == len(areas) == 16


def test_another_algorithm_is_refused_before_training():
    with pytest.raises(ValueError, match="records MIRL, not DQN"):
        DQN("MlpPolicy", jump_envs(1), **LEARNERS["DQN"][3]).learn(10, callback=PriorRecorder())


def test_a_new_run_is_recorded_afresh_and_wrong_use_gets_one_sentence():
    recorder = PriorRecorder(every=10)
    with pytest.raises(ValueError, match="nothing to draw before training"):
        recorder.plot()
    with pytest.raises(ValueError, match="every must be a whole number"):
        PriorRecorder(every="often")
    model = MIRL("MlpPolicy", jump_envs(1), device="cpu")
    for _ in range(2):
        model.learn(20, callback=recorder)
        assert recorder.timesteps == [0, 10, 20]
