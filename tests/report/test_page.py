"""The written report: what is in it, that text from runs stays text, and that everything shown is also in a file."""

import csv
import re
import shlex
from html.parser import HTMLParser

import pytest
from runs_in_memory import scores_of
from runs_on_disk import stored_run

from sb3_infomax.cli import main
from sb3_infomax.compare.settings import parse_seeds
from sb3_infomax.compare.spec import RunSpec, parse_settings
from sb3_infomax.report.analysis import analyse
from sb3_infomax.report.page import again_command, inline_svg, ranges
from sb3_infomax.report.report import write_report
from sb3_infomax.report.scores import RunRecord
from sb3_infomax.report.sources import gather

EVIL = "<script>alert(1)</script>"


class Tables(HTMLParser):
    """The cells of each table of a page, and every tag."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.cell, self.name = {}, [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.name = dict(attributes)["id"]
            self.tables[self.name] = []
        if tag == "tr":
            self.tables[self.name].append([])
        if tag in ("td", "th"):
            self.tables[self.name][-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.cell:
            self.tables[self.name][-1][-1] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of two methods, one with an evil name, on two tasks."""
    out = tmp_path_factory.mktemp("report")
    finals = {"ppo": [1, 2, 3, 4, 5], EVIL + "+emi": [6, 7, 8, 9, 10]}
    runs = [run for task in ("X & Y", "Z") for run in scores_of(finals, task)]
    return write_report(analyse(gather(runs), resamples=300), out)


def test_text_from_runs_stays_text_and_nothing_is_loaded(written):
    text = written.read_text()
    page = Tables(text)
    assert EVIL not in text and "&lt;script&gt;" in text and "X &amp; Y" in text
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"(src|href)=\"(?!#)", text) and "url(http" not in text and "@import" not in text
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_labels_in_a_picture_stay_as_they_are_while_its_coordinates_are_cut():
    found = inline_svg('<svg width="9" height="9"><text x="1.23456">ppo+rnd:coef=0.00125 #D55E00</text></svg>', "a")
    assert found.endswith('<text x="1.23">ppo+rnd:coef=0.00125 #D55E00</text></svg>')


def test_the_tables_hold_the_numbers(written):
    tables = Tables(written.read_text()).tables
    assert tables["aggregates"][0] == ["method", "IQM", "median", "mean"]
    assert tables["aggregates"][1][1].startswith("0.222 [") and tables["aggregates"][2][1].startswith("0.778 [")
    assert tables["comparisons-overall"][1][2:] == ["0.778 : 0.222", "P = 1, every run above every other", "p < 0.001", "yes"]
    assert len(tables["runs"]) == 21 and tables["runs"][1] == ["X & Y", "ppo", "0", "finished", "100", "1", "0", "-"]


def test_every_number_and_picture_has_a_file(written):
    folder = written.parent / "report"
    names = {path.name for path in folder.iterdir()}
    pictures = {
        "curves_1",
        "curves_2",
        "scores_1",
        "scores_2",
        "time_1",
        "efficiency",
        "aggregates",
        "profiles",
        "improvement",
    }
    assert {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")} <= names
    assert {
        "runs.csv",
        "aggregates.csv",
        "comparisons.csv",
        "curves.csv",
        "profiles.csv",
        "efficiency.csv",
        "report.md",
    } <= names
    with (folder / "comparisons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["first"] == EVIL + "+emi" and float(rows[0]["p"]) == pytest.approx(2 / 252**2)
    assert "is better than ppo over these 2 tasks" in (folder / "report.md").read_text()


def test_the_command_reads_writes_and_answers(tmp_path, capsys):
    for seed in range(2):
        stored_run(tmp_path / "ppo", seed, [0, 1, 2])
    assert main(["report", str(tmp_path), "--resamples", "200"]) == 0
    shown = capsys.readouterr().out
    assert f"Report: {tmp_path / 'report.html'}" in shown and "Note: With 2 seeds" in shown
    page = Tables((tmp_path / "report.html").read_text())
    assert page.tables["methods"][1][:3] == ["ppo", "2", "2 [2, 2]"]
    assert "sb3-infomax compare ppo --env CartPole-v1 --seeds 2 --timesteps 100" in (tmp_path / "report.html").read_text()
    # its own files are no runs
    assert main(["report", str(tmp_path), "--resamples", "200"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no folder nowhere"),
        ([".", "--resamples", "5"], "at least 100"),
        ([".", "--baseline", "sac"], "no method 'sac'"),
        ([".", "--normalize", "nothing.yml"], "there is no file nothing.yml"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    stored_run(tmp_path / "ppo", 0, [0, 1, 2])
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_ranges():
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_the_command_that_makes_the_runs_again_has_their_budget_of_time(tmp_path):
    settings = RunSpec("CartPole-v1", "ppo", cpu_seconds=90.0).to_json()
    again = again_command([RunRecord("CartPole-v1", "ppo", 0, tmp_path, settings=settings)], "CartPole-v1")
    assert again.startswith("sb3-infomax compare ppo --env CartPole-v1 --seeds 1 --budget 90s")


@pytest.mark.parametrize(("seeds", "option"), [([0], "1"), ([3], "3,"), ([0, 1, 2], "3"), ([1, 2], "1,2")])
def test_the_command_that_makes_the_runs_again_names_their_seeds(seeds, option, tmp_path):
    settings = RunSpec("CartPole-v1", "ppo", timesteps=90).to_json()
    again = again_command(
        [RunRecord("CartPole-v1", "ppo", seed, tmp_path, settings=settings) for seed in seeds], "CartPole-v1"
    )
    assert (
        again == f"sb3-infomax compare ppo --env CartPole-v1 --seeds {option} --timesteps 90" and parse_seeds(option) == seeds
    )


def test_the_command_that_makes_the_runs_again_keeps_texts_that_look_like_numbers(tmp_path):
    settings = RunSpec("CartPole-v1", "ppo", timesteps=90, env_kwargs={"version": "8"}).to_json()
    words = shlex.split(again_command([RunRecord("CartPole-v1", "ppo", 0, tmp_path, settings=settings)], "CartPole-v1"))
    assert parse_settings([words[words.index("--env-arg") + 1]]) == {"version": "8"}
