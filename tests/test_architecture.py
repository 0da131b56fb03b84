"""The shape of the package: which way imports go, what loading costs, what is public, that it is documented."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import sb3_infomax

PACKAGE = Path(sb3_infomax.__file__).parent
ROOT = PACKAGE.parent

# Each layer may import itself and the layers before it.
LAYERS = [
    ["registry", "types", "randomness", "checks"],
    ["networks"],
    ["mi"],
    ["rewards", "auxiliary"],
    ["buffers", "common"],
    ["callbacks", "vec_env"],
    ["envs"],
    ["c51", "driml", "mirl"],
    ["compare", "report", "tune", "zoo"],
    ["cli", "__main__"],
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
# torch, gymnasium and numpy; no Stable-Baselines3
CORE = ["registry", "types", "randomness", "checks", "networks", "mi", "rewards", "auxiliary"]
SB3 = ["stable_baselines3", "sb3_contrib"]
HEAVY = ["matplotlib", "rich", "pandas", "optuna", "ray", "tensorboard", "ale_py", "cv2", "minigrid", "mujoco", "envpool"]

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
WITH_PATH = list(zip(FILES, MODULES, strict=True))


def part_of(module: str) -> str:
    """``sb3_infomax.rewards.emi`` -> ``rewards``; the package itself is ``""``."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> list[str]:
    """Every name that a file imports, wherever in the file: ``from a import b`` gives ``a.b``."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize(("path", "module"), WITH_PATH, ids=MODULES)
def test_imports_go_one_way(path, module):
    part = part_of(module)
    if part == "":
        return  # the top __init__ re-exports from every layer
    assert part in RANK, f"{module} is in no layer: add {part!r} to LAYERS"
    for name in imports(path):
        if name.startswith("sb3_infomax.") and name != "sb3_infomax.__version__":
            assert part_of(name) in RANK, f"{module}: import {name} from the module that defines it"
            assert RANK[part_of(name)] <= RANK[part], f"{module} imports {name}, which is in a later layer"


@pytest.mark.parametrize(("path", "module"), WITH_PATH, ids=MODULES)
def test_core_knows_nothing_of_stable_baselines3(path, module):
    if part_of(module) in CORE:
        assert not {name.split(".")[0] for name in imports(path)} & {*SB3, *HEAVY}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("sb3_infomax", ["torch", "gymnasium", *SB3, *HEAVY]),
        ("sb3_infomax.mi", [*SB3, *HEAVY]),
        ("sb3_infomax.rewards", [*SB3, *HEAVY]),
    ],
)
def test_loading_brings_nothing_heavy(module, absent):
    """In a fresh interpreter, so that what other tests have loaded does not count."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}} & set({absent!r}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_and_resolves(module):
    public = getattr(import_module(module), "__all__", [])
    # constants, classes, the rest, as ruff sorts them
    assert public == sorted(public, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in public:
        assert getattr(import_module(module), name) is not None


def test_lazy_names_are_the_public_names():
    """The list for the interpreter, the imports for type checkers and ``__all__`` say the same."""
    for_type_checkers = {name for name in imports(PACKAGE / "__init__.py") if name.startswith("sb3_infomax.")}
    for_interpreter = {f"sb3_infomax.{module}.{name}" for name, module in sb3_infomax._DEFINED_IN.items()}
    assert for_interpreter == for_type_checkers
    assert {*sb3_infomax._DEFINED_IN, "__version__"} == set(sb3_infomax.__all__) <= set(dir(sb3_infomax))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sb3_infomax.nonsense  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_public_classes_functions_and_methods_are_documented(module):
    """An override may leave the words to the method that it overrides."""
    loaded = import_module(module)
    own = {
        name: value
        for name, value in vars(loaded).items()
        if getattr(value, "__module__", None) == module and (inspect.isclass(value) or inspect.isfunction(value))
    }
    for cls in [value for name, value in own.items() if inspect.isclass(value) and not name.startswith("_")]:
        methods = {name for name, value in vars(cls).items() if callable(value) or isinstance(value, classmethod)}
        own |= {f"{cls.__name__}.{name}": getattr(cls, name) for name in methods if not name.startswith("_")}
    undocumented = [name for name, value in own.items() if not name.startswith("_") and not inspect.getdoc(value)]
    assert undocumented == [] and loaded.__doc__ != ""


def test_no_committed_file_names_a_path_of_somebodys_machine():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    machine_path = re.compile(rb"(?<![\w.])/(work|farm|root|home|tmp|Users)/\w|\.\./shared")
    named = [name for name in files if (ROOT / name).is_file() and machine_path.search((ROOT / name).read_bytes())]
    assert named == []
