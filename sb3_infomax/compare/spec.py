"""What to run, as text a user types and as a record that is stored with every run."""

import ast
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sb3_infomax.registry import AUXILIARY, UnknownNameError, resolve, unknown_name

# What must not be split: anything in quotes, and everything up to the end of a bracket.
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# "+" joins the parts of a method, but not inside a number such as 1e+6.
_JOIN = r"\+(?=[A-Za-z_])"
# ":" starts the settings of a part, but not inside "package.module:Class".
_SETTINGS = r":(?=\s*[A-Za-z_][\w.]*\s*=)"
# "," separates settings where "key=" follows.
_COMMA = r",(?=\s*[A-Za-z_][\w.]*\s*=)"
# "EMI tuned=ppo+emi": a name for tables and folders. Settings come behind a colon, so nothing else has "=" before one.
_LABEL = re.compile(r"\s*([^:=]*[^:=\s])\s*=(.*)", re.DOTALL)


# 1e5, which users write for a hundred thousand
WHOLE = re.compile(r"[+-]?\d+[eE]\+?\d{1,2}")

NORMALIZE = ("observations", "rewards", "both", "none")
_UNITS = {"s": 1, "m": 60, "h": 3600}


class UserError(ValueError):
    """What was asked for cannot be done; the message is one sentence saying what to do instead."""


def split_outside(separator: str, text: str) -> list[str]:
    """Split where a separator is neither in quotes nor in brackets.

    :param separator: a regular expression
    :param text: such as ``"ppo:policy_kwargs={'a': 'b+c'}+rnd"``
    """
    pieces, start, depth = [], 0, 0
    for found in re.finditer(f"(?P<quoted>{_QUOTED})|(?P<bracket>[][(){{}}])|(?P<separator>{separator})", text):
        if found["bracket"]:
            depth += 1 if found["bracket"] in "([{" else -1
        elif found["separator"] and depth == 0:
            pieces.append(text[start : found.start()])
            start = found.end()
    return [*pieces, text[start:]]


def parse_value(text: str) -> Any:
    """A number, ``True``, ``None``, list, ... where the text is one in Python, else the text itself.

    :param text: what stands behind ``key=``
    :return: ``"1e-3"`` gives 0.001, ``"1e5"`` the whole number, ``"[64, 64]"`` a list, ``"paper"`` the text ``"paper"``
    """
    text = text.strip()
    lowered = {"true": True, "false": False, "none": None}
    if text.lower() in lowered:
        return lowered[text.lower()]
    try:
        return int(float(text)) if WHOLE.fullmatch(text) else ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """``["coef=0.5", "policy_kwargs.net_arch=[64, 64]"]`` as a dictionary, where dots nest.

    :param texts: settings, each as ``key=value``
    :raises UserError: where one is not of this form or a key is given twice
    """
    settings: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        *outer, last = key.strip().split(".")
        if not equals or not all(name.isidentifier() for name in (*outer, last)):
            raise UserError(f"Cannot read the setting {text!r}: write it as key=value, such as coef=0.5.")
        inner = settings
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                break
        if not isinstance(inner, dict) or last in inner:
            raise UserError(f"The setting {key.strip()!r} is given twice: leave one of them out.")
        inner[last] = parse_value(value)
    return settings


def parse_steps(text: str) -> int:
    """A positive whole number of steps, also as ``1e6`` or ``60_000``.

    :param text: what the user typed
    """
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        value = float("nan")
    if not (value >= 1 and value % 1 == 0):
        raise UserError(f"{text!r} is not a number of time steps: write a positive whole number such as 60000 or 1e6.")
    return int(value)


def parse_duration(text: str) -> float:
    """Seconds, from ``90s``, ``10m``, ``1.5h`` or ``1h30m``.

    :param text: what the user typed
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smh])", text.lower())
    if not parts or re.sub(r"\s", "", text.lower()) != "".join(number + unit for number, unit in parts):
        raise UserError(f"{text!r} is not a time: write it as 90s, 10m or 1.5h.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def duration_text(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 3.6e6 else f"{seconds / 3600:,.0f} h"


@dataclass(frozen=True)
class Part:
    """One part of a method: ``rnd:coef=0.5`` is the name ``rnd`` with one setting."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """An algorithm with what is added to it, nothing for plain Stable-Baselines3.

    :param label: names the method in tables, pictures and folders: as given, else the text that it was read from
    :param algorithm: the algorithm and its own settings
    :param rewards: the intrinsic rewards, each with its settings
    :param losses: the auxiliary losses, each with its settings
    """

    label: str
    algorithm: Part
    rewards: tuple[Part, ...] = ()
    losses: tuple[Part, ...] = ()


def is_auxiliary(name: str) -> bool:
    """Whether a name is an auxiliary loss's; what cannot be found is taken for a reward's.

    :param name: registered, or ``package.module:Class``
    """
    if ":" not in name:
        return name in AUXILIARY
    from sb3_infomax.auxiliary.base import AuxiliaryModule

    try:
        return issubclass(resolve(name, AUXILIARY), AuxiliaryModule)
    except UnknownNameError:
        return False


def split_settings(text: str) -> tuple[str, dict[str, Any]]:
    """``"rnd:coef=0.5,preset=paper"`` as what stands before the settings, and those."""
    name, *rest = split_outside(_SETTINGS, text.strip())
    return name.strip(), parse_settings(split_outside(_COMMA, ":".join(rest))) if rest else {}


def parse_part(text: str) -> Part:
    """``"rnd:coef=0.5,preset=paper"`` as a :class:`Part`."""
    name, settings = split_settings(text)
    # a class path keeps its case, the short names are lower case
    return Part(name if ":" in name else name.lower(), settings)


def parse_environment(text: str) -> tuple[str, dict[str, Any]]:
    """``"CliffWalking-v1:max_episode_steps=200"`` as an id and settings for ``gymnasium.make``."""
    name, settings = split_settings(text)
    if not name:
        raise UserError(f"Cannot read the environment {text!r}: write it as CartPole-v1 or CartPole-v1:max_episode_steps=200.")
    return name, settings


def parse_label(text: str) -> tuple[str | None, str]:
    """``"EMI tuned=ppo+emi"`` as the label and what it names; ``None`` where there is no label.

    :param text: a method, or an environment
    """
    found = _LABEL.fullmatch(text)
    return (None, text.strip()) if found is None else (found[1], found[2].strip())


def parse_method(text: str) -> Method:
    """Read ``[label=]algorithm[:key=value,...][+reward or loss[:key=value,...]]...``

    ``ppo``, ``ppo+emi``, ``ppo+rnd:coef=0.5,preset=paper``, ``ppo:n_steps=512+rnd``, ``ppo+rnd+emi`` (a mixture),
    ``qrdqn+infonce:horizon=ada`` (an auxiliary loss) and ``EMI tuned=ppo+emi:coef=0.1`` (with a label) are methods.
    ``none`` as a reward is no reward.

    :param text: what the user typed
    :raises UserError: where it cannot be read
    """
    label, typed = parse_label(text)
    parts = [parse_part(part) for part in split_outside(_JOIN, typed)]
    if not all(part.name for part in parts):
        raise UserError(f"Cannot read the method {text!r}: write it as ppo, ppo+emi or ppo+rnd:coef=0.5,preset=paper.")
    added = [part for part in parts[1:] if part.name != "none"]
    losses = tuple(part for part in added if is_auxiliary(part.name))
    rewards = tuple(part for part in added if part not in losses)
    return Method(label=label or typed, algorithm=parts[0], rewards=rewards, losses=losses)


def format_value(value: Any) -> str:
    """What :func:`parse_value` reads as this value, between the separators of a method's text."""
    if not isinstance(value, str):
        return repr(value)
    plain = re.fullmatch(r"[\w./-]+", value) is not None and parse_value(value) == value
    return value if plain else repr(value)


def format_part(part: Part) -> str:
    """A part as text that :func:`parse_part` reads back."""
    settings = ",".join(f"{key}={format_value(value)}" for key, value in part.settings.items())
    return f"{part.name}:{settings}" if settings else part.name


def format_method(parts: Iterable[Part], label: str | None = None) -> str:
    """The text of a method, which :func:`parse_method` reads back.

    :param parts: the algorithm first
    :param label: a name of its own
    """
    text = "+".join(map(format_part, parts))
    return text if label is None else f"{label}={text}"


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the outcome of one run; stored as ``config.json`` in its folder.

    :param env: gymnasium id
    :param env_kwargs: for ``gymnasium.make``
    :param env_wrappers: around the environment, each as ``name:key=value,...``
    :param method: text of the method, see :func:`parse_method`
    :param algo_kwargs: settings of the algorithm beside those in ``method``, which win
    :param timesteps: environment steps to train for; ``None`` where only time ends the run
    :param cpu_seconds: of the process to train for, evaluations left out; whichever of both budgets is used up first ends the
        run. Other processes take none of it, so that all methods are given the same on a busy machine too
    :param seed: of the learner, the training environments and (by a fixed rule) the evaluations
    :param normalize: ``"observations"``, ``"rewards"``, ``"both"`` or ``"none"``, by the running moments of ``VecNormalize``;
        ``None`` is both for MuJoCo with an on-policy algorithm, else none. Evaluations use the same moments, returns stay raw
    :param n_envs: parallel training environments; ``None`` is 8 for Atari with an on-policy algorithm, else 1
    :param eval_points: evaluations over the run, one more before the first step
    :param eval_episodes: episodes of each evaluation
    :param eval_actions: ``"best"`` or ``"sampled"``; ``None`` is sampled on-policy, where the sampling policy is what is
        trained, and best off-policy
    :param success_return: an episode that returns at least this is a success, where the environment does not say itself
    """

    env: str
    method: str
    timesteps: int | None = None
    seed: int = 0
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    env_wrappers: list[str] = field(default_factory=list)
    algo_kwargs: dict[str, Any] = field(default_factory=dict)
    normalize: str | None = None
    n_envs: int | None = None
    cpu_seconds: float | None = None
    eval_points: int = 20
    eval_episodes: int = 5
    eval_actions: str | None = None
    success_return: float | None = None

    def __post_init__(self) -> None:
        for name in ("timesteps", "n_envs", "eval_points", "eval_episodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}.")
        if self.timesteps is None and self.cpu_seconds is None:
            raise UserError("A run needs a budget: a number of time steps, or a time.")
        if self.cpu_seconds is not None and not 0 < self.cpu_seconds < float("inf"):
            raise UserError(f"A budget of time must be more than 0 seconds, not {self.cpu_seconds}.")
        if self.normalize not in (None, *NORMALIZE):
            raise UserError(f"normalize is one of {', '.join(NORMALIZE)}, not {self.normalize!r}.")
        if self.eval_actions not in (None, "best", "sampled"):
            raise UserError(f"Evaluations take 'best' or 'sampled' actions, not {self.eval_actions!r}.")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"A seed is a whole number from 0 to 2147483647, not {self.seed}.")

    @property
    def label(self) -> str:
        """What tables, pictures and folders call the method."""
        return parse_method(self.method).label

    @property
    def budget(self) -> str:
        """What ends the run, as text."""
        steps = [] if self.timesteps is None else [f"{self.timesteps:,} steps"]
        return " or ".join([*steps, *([] if self.cpu_seconds is None else [f"{duration_text(self.cpu_seconds)} of CPU time"])])

    @property
    def options(self) -> dict[str, Any]:
        """What differs from the defaults beside task, method and seed, by the names of ``compare``'s options."""
        names = {"env_kwargs": "env_arg", "env_wrappers": "env_wrapper", "algo_kwargs": "algo_arg", "cpu_seconds": "budget"}
        told = {
            names.get(item.name, item.name): value
            for item in fields(self)
            if item.name not in ("env", "method", "seed") and (value := getattr(self, item.name)) not in (item.default, {}, [])
        }
        return told | ({"budget": f"{self.cpu_seconds:.10g}s"} if "budget" in told else {})

    def share(self, timesteps: float, cpu_seconds: float) -> float:
        """How much of the budget is used up, from 0 to 1.

        :param timesteps: made so far
        :param cpu_seconds: of training so far
        """
        used = [] if self.timesteps is None else [timesteps / self.timesteps]
        return min(max([*used, *([] if self.cpu_seconds is None else [cpu_seconds / self.cpu_seconds])]), 1.0)

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON can hold them (tuples become lists)."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "RunSpec":
        """Read what :meth:`to_json` wrote."""
        return cls(**{item.name: record[item.name] for item in fields(cls) if item.name in record})

    def differences(self, other: "RunSpec") -> list[str]:
        """Names of the fields in which two specifications differ."""
        mine, theirs = jsonable(self.to_json()), jsonable(other.to_json())
        return [name for name in mine if mine[name] != theirs[name]]


def compare_command(spec: RunSpec, methods: Iterable[str], seeds: Sequence[int]) -> str:
    """The command line that compares methods under the settings of a run.

    :param spec: the run; its own method and seed do not count
    :param methods: texts, see :func:`parse_method`
    :param seeds: in their order
    """
    # 3 is the first three, "3," is the one
    which = str(len(seeds)) if list(seeds) == list(range(len(seeds))) else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)
    return shlex.join(["sb3-infomax", "compare", *methods, "--env", spec.env, "--seeds", which, *option_words(spec)])


def option_words(spec: RunSpec) -> list[str]:
    """:attr:`RunSpec.options` as words of a command line."""
    words = []
    for name, value in spec.options.items():
        if isinstance(value, dict):
            value = [f"{key}={format_value(item)}" for key, item in value.items()]
        words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    return words


def jsonable(value: Any) -> Any:
    """What comes back after a trip through JSON: tuples as lists, keys as text, other objects as their text."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def folder_name(text: str) -> str:
    """A method or environment id as the name of a folder on any file system.

    :param text: such as ``"ALE/Pong-v5"`` or ``"ppo+rnd:coef=0.5"``
    :return: such as ``"ALE-Pong-v5"`` or ``"ppo+rnd-coef=0.5"``; different texts may share one, callers check
    """
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-.") or "run"


def check_names(settings: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Refuse settings that nobody would read.

    :param settings: names that the user gave
    :param known: names that there are
    :param owner: whose settings they are, for the message
    """
    known = list(known)
    for name in settings:
        if name not in known:
            raise UserError(str(unknown_name(f"setting of {owner}", name, known)))
