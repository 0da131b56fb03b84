import csv

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from sb3_infomax.report.analysis import Bands, Summary
from sb3_infomax.report.figures import (
    LONGEST_LABEL,
    band_figure,
    colours,
    draw,
    house_style,
    limits,
    plot_curves,
    spread,
    svg_text,
)
from sb3_infomax.report.scores import Curves
from sb3_infomax.report.statistics import NOTHING, Estimate
from sb3_infomax.report.tables import caption, rich_table, write_tables

ROWS = [
    Summary("X", "ppo", 2, 2, Estimate(1.0, 0.5, 1.5), Estimate(2.0, 2.0, 2.0), NOTHING, 3.0, 150.0),
    Summary("X", "ppo+rnd:net_arch=[64]", 1, 2, Estimate(1234.5, 1.0, 2000.0), NOTHING, Estimate(0.5, 0.0, 1.0), 9000.0, 1.0),
]


def test_labels_are_moved_apart_in_their_order_and_stay_inside():
    moved = spread([0.5, 0.5, 0.51, 0.99], gap=0.1, low=0.0, high=1.0)
    assert moved == sorted(moved)
    assert np.diff(moved).min() >= 0.1 - 1e-6
    assert 0 <= min(moved) and max(moved) <= 1


def test_a_dreadful_start_does_not_press_the_curves_flat():
    curve = Curves(np.arange(8), np.array([[-20000.0, -5000, -200, -190, -180, -60, -30, -20]]))
    low, high = limits([curve])
    assert -300 < low < -200 and -20 < high < 0


def test_the_plain_method_is_grey_and_no_two_of_nine_share_a_colour():
    found = colours(["ppo", "ppo+rnd", "dqn", "ppo+emi"])
    assert found["ppo"] == "#4D4D4D" and list(found.values()).count("#4D4D4D") == 1
    assert len(set(colours(list("abcdefghi")).values())) == 9


def test_the_picture_is_written(tmp_path):
    curve = Curves(np.array([0.0, 50.0, 100.0]), np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]]))
    for tasks, height in ((["CartPole-v1"], 600), (["CartPole-v1", "Acrobot-v1"], 1100)):
        curves = {task: {"ppo": curve} for task in tasks}
        path = plot_curves(curves, curves, tmp_path / "curves.png", "title")
        image = matplotlib.image.imread(path)
        assert image.shape[0] > height and image.shape[1] > 1500
        assert image[..., :3].std() > 0.05
    assert sorted(file.name for file in tmp_path.glob("curves*")) == ["curves.png"]


def test_long_names_of_methods_are_in_a_legend_and_take_no_room_from_the_curves(tmp_path):
    axes = Figure().subplots()
    curve = Curves(np.array([0.0, 1.0]), np.zeros((2, 2)))
    for method, n_labels in (("ppo+rnd", 1), ("ppo+rnd:" + "x" * LONGEST_LABEL, 0)):
        axes.clear()
        draw(axes, {method: curve}, {method: "red"}, "", -1.0, 1.0)
        assert len(axes.texts) == n_labels


def test_no_picture_without_a_finished_run(tmp_path):
    assert plot_curves({}, {}, tmp_path / "curves.png", "nothing") is None


def test_an_svg_has_text_that_is_text_no_date_and_nothing_from_elsewhere():
    with house_style():
        lines, colour = {"a$b<c": Bands(*np.ones((4, 2)))}, {"a$b<c": "#0072B2"}
        text, again = (svg_text(band_figure(lines, colour, "up", "right"), "name") for _ in range(2))
    assert text == again
    assert "a$b&lt;c" in text and "<script" not in text and "dc:date" not in text


def test_the_tables_say_the_same_in_three_forms(tmp_path):
    markdown, csv_path = write_tables(ROWS, tmp_path, "title", best={True})
    text = markdown.read_text()
    assert "| ppo | 2 | 1 [0.5, 1.5] | 2 [2, 2] | - | 2.5 min | 3 s |" in text
    assert "| ppo+rnd:net_arch=[64] | 1 of 2 | 1234 [1, 2000] | - | 50 % [0, 100] | 1 s | 2.5 h |" in text
    with open(csv_path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["evaluation"]) == 1234.5 and rows[0]["success"] == ""
    console = Console(width=160, record=True, quiet=False, file=open("/dev/null", "w"))
    console.print(rich_table(ROWS, "title", {False}))
    shown = console.export_text()
    assert "ppo+rnd:net_arch=[64]" in shown and "1234 [1, 2000]" in shown


@pytest.mark.parametrize(
    ("best", "words"),
    [({True}, "policy's best actions"), ({False}, "take sampled actions, as"), ({True, False}, "on-policy and best")],
)
def test_the_caption_says_how_evaluations_act(best, words):
    assert words in caption(best)
