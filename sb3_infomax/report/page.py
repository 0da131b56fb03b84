"""The page: one HTML file with everything in it, for a screen, a phone, a dark room and paper.

There is no script, and the page forbids them to itself, so that a name with markup in it can do nothing; nothing is loaded
from anywhere. Text that comes from runs goes through :func:`text`, numbers through formats.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from sb3_infomax import __version__
from sb3_infomax.compare.spec import RunSpec, compare_command
from sb3_infomax.report.analysis import Analysis
from sb3_infomax.report.claims import Comparison, Name, Sentence, p_text
from sb3_infomax.report.figures import colours
from sb3_infomax.report.scores import FINAL_SHARE, MEASURES, RunRecord
from sb3_infomax.report.tables import (
    HEADER,
    caption,
    cells,
    comparison_cells,
    header,
    number,
    run_records,
    score_text,
    seconds_text,
)

_HEX = re.compile(r"#([0-9a-fA-F]{6})\b")
_ID = re.compile(
    r'\s(?:id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend|LineCollection|FillBetween\w*)_\d+")'
)
_FRACTION = re.compile(r"(-?\d+\.\d{2})\d+")
_TAG = re.compile(r"<[^>]*>")
_SIZE = re.compile(r'<svg([^>]*?) (?:width|height)="[^"]*"([^>]*?) (?:width|height)="[^"]*"')


def text(value: object) -> str:
    """Anything as text that HTML takes for nothing else."""
    return html.escape(str(value), quote=True)


def tag(name: str, content: str, **attributes: str) -> str:
    """An element; its content is HTML already, its attributes are text."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>"


def inline_svg(svg: str, label: str) -> str:
    """A picture inside the page: as wide as its place, in the page's font, its colours those of the page's light or dark.

    :param svg: text of a file
    :param label: what a screen reader says
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = _SIZE.sub(r"<svg\1\2", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{text(label)}"', 1)
    return _TAG.sub(lambda match: plain_tag(match[0]), svg)


def plain_tag(markup: str) -> str:
    """One tag of a picture without what a page has no use for; what stands between tags, such as a label, is not touched.

    :param markup: from ``<`` to ``>``
    """
    markup = _ID.sub("", markup)
    markup = re.sub(r"font-family:[^;\"]*;?", "", markup)
    markup = re.sub(
        r"font: (?:(\w+) )?([\d.]+)px [^;\"]*", lambda m: f"font-size: {m[2]}px; font-weight: {m[1] or 400}", markup
    )
    markup = _HEX.sub(lambda match: f"var(--k{match[1].lower()}, #{match[1].lower()})", markup)
    return _FRACTION.sub(r"\1", markup)


def figure(pictures: dict[str, str], name: str, title: str, words: str) -> str:
    """A picture with its caption; nothing where there is no such picture."""
    if name not in pictures:
        return ""
    legend = tag("figcaption", tag("b", text(title)) + " " + text(words).replace(" %", "&nbsp;%"))
    return tag("figure", inline_svg(pictures[name], title) + legend)


def table(names: Iterable[str], rows: Iterable[Iterable[str]], n_left: int = 1, **attributes: str) -> str:
    """A table that scrolls by itself where it is too wide.

    :param names: of the columns, plain text
    :param rows: of cells, HTML already
    :param n_left: columns of words
    """
    head = "".join(tag("th", text(name), scope="col", class_="w" if i < n_left else "n") for i, name in enumerate(names))
    body = "".join(
        tag("tr", "".join(tag("td", cell, class_="w" if i < n_left else "n") for i, cell in enumerate(row))) for row in rows
    )
    inner = tag("thead", tag("tr", head)) + tag("tbody", body)
    return tag("div", tag("table", inner, **attributes), class_="scroll", tabindex="0")


def render(analysis: Analysis, pictures: dict[str, str], title: str, command: str) -> str:
    """The whole page.

    :param analysis: what to show
    :param pictures: SVG texts by name
    :param title: heading
    :param command: how the report was made
    """
    paint = colours(analysis.scores.methods)
    together = [over_tasks(analysis, pictures, paint), comparisons(analysis, pictures, paint)]
    one_by_one = curves(analysis, pictures)
    several = len(analysis.scores.tasks) > 1
    sections = [
        answer(analysis, paint),
        *([*together, one_by_one] if several else [one_by_one, *together]),
        methods(analysis, paint),
        runs(analysis, paint),
        origin(analysis, command),
    ]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{style}</style>"
    )
    body = banner(analysis, title, paint) + tag("main", "\n".join(filter(None, sections)))
    foot = tag(
        "footer",
        f"Made by sb3-infomax {text(__version__)}. The numbers are in the folder <code>report</code> beside this page.",
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}{foot}</body></html>\n'


def banner(analysis: Analysis, title: str, paint: dict[str, str]) -> str:
    """The head of the page: what it is about, and the colour of each method."""
    scores = analysis.scores
    counts = [len(scores.of(task, method)) for task in scores.tasks for method in scores.methods]
    steps = sorted({scores.last_step(task) for task in scores.tasks})
    spans = []
    if counts:
        seeds = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
        spans = [plural(len(scores.runs), "run"), f"{seeds} seeds" if seeds != "1" else "1 seed"]
        spans += [plural(len(scores.tasks), "task")] if len(scores.tasks) > 1 else []
        spans += [
            f"{steps[0]:,} steps" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,} steps",
            MEASURES[scores.measure],
        ]
    chips = "".join(tag("li", dot(paint, method) + text(method)) for method in scores.methods)
    return tag(
        "header",
        tag("p", "Report", class_="eyebrow")
        + tag("h1", text(title))
        + tag("p", " · ".join(map(text, spans)), class_="meta")
        + tag("ul", chips, class_="chips", aria_label="Methods and their colours"),
    )


def plural(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def dot(paint: dict[str, str], method: str) -> str:
    """A spot in the colour of a method."""
    shade = paint.get(method, "#4D4D4D").lower()
    return f'<i class="dot" style="background:var(--k{shade[1:]}, {shade})"></i>'


def named(paint: dict[str, str], method: str) -> str:
    """A method with its spot."""
    return f'<span class="method">{dot(paint, method)}{text(method)}</span>'


def spoken(sentence: Sentence) -> str:
    """A sentence with the methods in bold; ``p = 0.03`` and ``5 seeds`` stay on one line."""
    parts = (tag("b", text(part)) if isinstance(part, Name) else text(part) for part in sentence)
    return re.sub(r" (=|&lt;) |(?<=\d) (?=seeds?\b)", lambda m: f"&nbsp;{m[1]}&nbsp;" if m[1] else "&nbsp;", "".join(parts))


def answer(analysis: Analysis, paint: dict[str, str]) -> str:
    """The short answer, first of all."""
    if not analysis.said:
        left = len(analysis.scores.left_out)
        words = "No run is finished yet." if left else "There is only one method: nothing is compared."
        if analysis.scores.runs and len(analysis.scores.methods) == 1:
            words = "There is only one method, so that nothing is compared."
        said = tag("li", text(words), class_="open")
    else:
        said = "".join(tag("li", spoken(s), class_=kind(s)) for s in analysis.said)
    explained = tag(
        "p",
        "P is the probability that a run of the first method scores more than a run of the second, in brackets its "
        "95&nbsp;% bootstrap interval. p is that of an exact permutation test, corrected for the number of comparisons: a "
        "method is called better where it is at most 0.05.",
        class_="small",
    )
    mind = ""
    if analysis.remarks:
        mind = tag("div", tag("h3", "Mind") + tag("ul", "".join(tag("li", text(r)) for r in analysis.remarks)), class_="mind")
    return tag("section", tag("h2", "What this says") + tag("ul", said, class_="said") + explained + mind, id="answer")


def kind(sentence: Sentence) -> str:
    """Whether a sentence claims something, leaves it open, or warns."""
    words = "".join(part for part in sentence if not isinstance(part, Name))
    return "shown" if " is better than " in words else "few" if "too few" in words else "open"


def curves(analysis: Analysis, pictures: dict[str, str]) -> str:
    """Learning curves and final scores, task by task; the first says at length what the pictures are."""
    scores, what = analysis.scores, MEASURES[analysis.scores.measure]
    said = {
        "curves": (
            "Learning curves.",
            "Mean over seeds (bold) with its 95 % bootstrap interval (shaded), and every seed (thin).",
        ),
        "scores": (
            "Final scores.",
            f"Each dot is a run: its mean over the last {FINAL_SHARE:.0%} of the steps. Above the dots, the interquartile "
            "mean with its 95 % bootstrap interval.",
        ),
        "time": (
            "The same over time.",
            "What a method costs in computation counts here. Seconds are of CPU time where runs recorded it, else of wall "
            "time; a line ends where its fastest run ended.",
        ),
    }
    blocks = []
    for index, task in enumerate(analysis.curves):
        suffix = f"_{index + 1}" if len(scores.tasks) > 1 else ""
        steps = f"{what.capitalize()} over {scores.last_step(task):,} steps."
        shown = [
            figure(pictures, name + suffix, title, " ".join([steps] * (name == "curves") + [words] * (index == 0)))
            for name, (title, words) in said.items()
        ]
        heading = tag("h3", text(task)) if len(scores.tasks) > 1 else ""
        blocks.append(heading + tag("div", "".join(shown), class_="grid"))
    title = "Task by task" if len(scores.tasks) > 1 else "Learning"
    return tag("section", tag("h2", title) + "".join(blocks), id="learning") if blocks else ""


def over_tasks(analysis: Analysis, pictures: dict[str, str], paint: dict[str, str]) -> str:
    """Aggregate scores, profiles and sample efficiency."""
    if not analysis.aggregates:
        return ""
    names = list(next(iter(analysis.aggregates.values())))
    rows = [
        [named(paint, m), *(text(score_text(found[name], 3)) for name in names)] for m, found in analysis.aggregates.items()
    ]
    n_tasks = len(analysis.scores.compared)
    over = f"over {n_tasks} tasks" if n_tasks > 1 else "of all runs"
    shown = [
        figure(
            pictures,
            "aggregates",
            f"Aggregate scores {over}.",
            "A line is the estimate, the bar its 95 % stratified bootstrap interval. IQM, the interquartile mean, is the "
            "mean of the middle half of all runs: steadier than the mean, and no single run decides it as it can the median.",
        ),
        figure(
            pictures,
            "profiles",
            "Performance profiles.",
            "The share of runs that score more than what stands below. A curve that is higher everywhere belongs to the "
            "better method; where curves cross, one method has the better good runs, the other the better bad ones.",
        ),
        figure(
            pictures,
            "efficiency",
            "Sample efficiency.",
            "Interquartile mean over all runs on all tasks at each part of the training, with its 95 % interval.",
        ),
    ]
    words = tag("p", text(analysis.scale.words), class_="small")
    body = table(["method", *names], rows, id="aggregates") + words + tag("div", "".join(shown), class_="grid")
    return tag("section", tag("h2", f"Scores {text(over)}") + body, id="scores")


def comparisons(analysis: Analysis, pictures: dict[str, str], paint: dict[str, str]) -> str:
    """Who is better than whom."""
    if not analysis.overall and not analysis.by_task:
        return ""
    shown = figure(
        pictures,
        "improvement",
        "Probability of improvement.",
        "A point is the probability that a run of the method on the left scores more than a run of the one on the right on "
        "the same task, the bar its 95 % bootstrap interval. Filled points are differences that the test shows; at the "
        "dashed line there is none.",
    )
    body = tag("div", shown, class_="grid") if shown else ""
    body += comparison_table(analysis.overall, paint, "overall")
    if analysis.by_task:
        rows = [each for found in analysis.by_task.values() for each in found]
        inner = comparison_table(rows, paint, "by-task", with_task=True)
        body += details("Task by task", inner, len(rows) <= 12)
    return tag("section", tag("h2", "Who is better") + body, id="comparisons")


def comparison_table(found: list[Comparison], paint: dict[str, str], name: str, with_task: bool = False) -> str:
    """Comparisons, a row each."""
    if not found:
        return ""
    rows = []
    for each in found:
        _, _, values, probability, _, verdict = comparison_cells(each)
        mark = {"shown": "yes", "not shown": "not shown", "too few seeds": "too few seeds"}[verdict]
        row = [
            named(paint, each.first),
            named(paint, each.second),
            text(values),
            text(probability),
            text(p_text(each.corrected)),
        ]
        row.append(f'<span class="{verdict.split()[0]}">{mark}</span>')
        rows.append([text(each.where), *row] if with_task else row)
    names = ["ahead", "behind", "IQM", "probability of improvement", "p (Holm)", "better?"]
    return table(["task", *names] if with_task else names, rows, 3 if with_task else 2, id=f"comparisons-{name}")


def details(title: str, content: str, is_open: bool) -> str:
    """A part that can be folded away."""
    return f"<details{' open' if is_open else ''}><summary>{text(title)}</summary>{content}</details>"


def methods(analysis: Analysis, paint: dict[str, str]) -> str:
    """The table that ``compare`` prints."""
    names = header(analysis.summaries)
    with_task = len(names) > len(HEADER)
    rows = []
    for row in analysis.summaries:
        found = [text(cell) for cell in cells(row, with_task)]
        found[1 if with_task else 0] = named(paint, row.method)
        rows.append(found)
    known = [index for index in range(len(names)) if any(row[index] != "-" for row in rows)]
    names, rows = tuple(names[index] for index in known), [[row[index] for index in known] for row in rows]
    words = tag("p", text(caption(set())), class_="small")
    return tag("section", tag("h2", "Methods") + table(names, rows, 2 if with_task else 1, id="methods") + words, id="summary")


def runs(analysis: Analysis, paint: dict[str, str]) -> str:
    """Every run."""
    records = run_records(analysis)
    if not records:
        return ""
    short = {whole: name for name, whole in analysis.full.items()}
    normalized = bool(analysis.scale.limits)
    rows = []
    for record in records:
        row = [text(record["task"]), named(paint, short[record["method"]]), text(record["seed"]), text(record["state"])]
        row += [f"{record['timesteps']:,}", number(record.get("score", float("nan")), 3)]
        row += [number(record.get("normalized", float("nan")), 3)] if normalized else []
        rows.append([*row, text(seconds_text(record.get("cpu_seconds", float("nan"))))])
    names = ["task", "method", "seed", "state", "steps", "score", *(["normalized"] if normalized else []), "CPU time"]
    inner = table(names, rows, 2, id="runs")
    return tag("section", tag("h2", "Runs") + details(plural(len(rows), "run"), inner, len(rows) <= 20), id="every-run")


# --- where it comes from


def origin(analysis: Analysis, command: str) -> str:
    """Settings, seeds, versions, costs and commands."""
    scores = analysis.scores
    everyone = [*scores.runs, *scores.left_out]
    parts = [tag("h3", "Settings"), settings_table(analysis, everyone)]
    versions = sorted({f"{name} {version}" for run in everyone for name, version in run.versions.items()})
    if versions:
        parts += [tag("h3", "Versions"), tag("p", " · ".join(map(text, versions)), class_="small")]
    spent = [run.cpu_seconds for run in everyone if run.cpu_seconds == run.cpu_seconds]
    if spent:
        words = f"{seconds_text(sum(spent))} of CPU time for {plural(len(spent), 'run')}, evaluations left out."
        parts += [tag("h3", "Cost"), tag("p", text(words))]
    parts += [tag("h3", "Commands")]
    again = [again_command(scores.runs, task) for task in scores.tasks]
    written = [*filter(None, again), command]
    parts += [tag("pre", tag("code", text("\n".join(dict.fromkeys(written)))))]
    parts += [tag("h3", "How the numbers are made"), "".join(tag("p", line) for line in method_notes(analysis))]
    return tag("section", tag("h2", "Where this comes from") + "".join(parts), id="origin")


def settings_table(analysis: Analysis, runs: list[RunRecord]) -> str:
    """Each method's whole text, its seeds, and what else was set."""
    rows = []
    for short, whole in analysis.full.items():
        mine = [run for run in runs if run.method == short]
        seeds = sorted({run.seed for run in mine})
        written = sorted({setting for run in mine for setting in plain_settings(run)})
        typed = [str(run.settings.get("method", whole)) for run in mine] or [whole]  # a label stands for more than it says
        rows.append([tag("code", text(typed[0])), text(ranges(seeds)), tag("code", text(" ".join(written)) or "-")])
    return table(["method", "seeds", "settings"], rows, 3, id="settings")


def plain_settings(run: RunRecord) -> list[str]:
    """Settings that are not at their defaults, as ``name=value``."""
    defaults = {each.name: each.default for each in fields(RunSpec)}
    skipped = ("method", "callback", "timesteps")
    found = []
    for name, value in run.settings.items():
        if name in skipped or value in (None, {}, []) or value == defaults.get(name):
            continue
        found += [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else [f"{name}={value}"]
    return found


def ranges(numbers: list[int]) -> str:
    """``0-4, 7`` for 0, 1, 2, 3, 4, 7."""
    groups: list[list[int]] = []
    for each in numbers:
        if groups and each == groups[-1][-1] + 1:
            groups[-1].append(each)
        else:
            groups.append([each])
    return ", ".join(str(g[0]) if len(g) == 1 else f"{g[0]}-{g[-1]}" for g in groups)


def again_command(runs: Iterable[RunRecord], task: str) -> str:
    """The command that makes the runs of a task again, where they are ours and were made by one."""
    mine = [run for run in runs if run.task == task and "eval_points" in run.settings]
    specs = [RunSpec.from_json(run.settings | {"env": task.split(" (")[0], "method": ""}) for run in mine]
    if not mine or any(spec != specs[0] for spec in specs):
        return ""
    methods = dict.fromkeys(run.settings["method"] for run in mine)
    return compare_command(specs[0], methods, sorted({run.seed for run in mine}))


def method_notes(analysis: Analysis) -> list[str]:
    """The statistics in words; HTML already."""
    paper = "<cite>Deep Reinforcement Learning at the Edge of the Statistical Precipice</cite> (2021, arXiv&nbsp;2108.13264)"
    return [
        f"The score of a run is its mean over the last {FINAL_SHARE:.0%} of the steps. {text(analysis.scale.words)}",
        f"IQM, optimality gap, performance profiles and probability of improvement are those of Agarwal et al., {paper}. "
        "Intervals are 95&nbsp;% percentile intervals of a stratified bootstrap, which draws runs within each task, "
        f"{analysis.resamples:,} times (2,000 at each point of a curve), seed&nbsp;{analysis.seed}; each task weighs the "
        "same.",
        "Whether a method is better is decided by an exact two-sided permutation test of the probability of improvement (on "
        "one task: Mann-Whitney), with Holm's correction for all comparisons that are made together, and not by the "
        "interval: with few seeds bootstrap intervals are too narrow, those of 5 normal scores cover the truth about 83 "
        "times in 100. What is said over several tasks is said of these tasks, not of others. Task by task, the "
        "correction is for the pairs on each task alone: of 20 tasks on which nothing differs, one may well show some.",
    ]
