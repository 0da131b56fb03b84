"""``push_to_hub`` and ``load_from_hub`` of the command line, for the RL Zoo's folders."""

import argparse
import copy
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from sb3_infomax.compare.spec import UserError
from sb3_infomax.zoo.hub import VEC_NORMALIZE, RemoteFiles, check_trust, file_name, module_files, push_to_hub

#: the RL Zoo's names of what lies beside a model
SETTINGS = ("config.yml", "args.yml")
METRICS = "train_eval_metrics.zip"


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    from rl_zoo3 import ALGOS

    parser = argparse.ArgumentParser(prog=f"python -m sb3_infomax.zoo {command}", description=description)
    parser.add_argument("--algo", required=True, choices=list(ALGOS), help="algorithm")
    parser.add_argument("--env", required=True, metavar="ID", help="environment")
    parser.add_argument("-f", "--folder", required=True, help="log folder of the RL Zoo")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--repo-id", metavar="OWNER/NAME", help="repository on the Hub")
    where.add_argument("-orga", "--organization", metavar="OWNER", help="the same, with the name <algo>-<env>")
    parser.add_argument("-name", "--repo-name", metavar="NAME", help="with -orga: another name")
    parser.add_argument("--exp-id", type=int, default=0, help="number of the experiment (default 0: latest, -1: no folder)")
    parser.add_argument("--token", help="default: the one that `hf auth login` has stored")
    return parser


def _repo_id(arguments: argparse.Namespace) -> str:
    name = arguments.repo_name or f"{arguments.algo}-{file_name(arguments.env)}"
    return arguments.repo_id or f"{arguments.organization}/{name}"


def push_parser() -> argparse.ArgumentParser:
    """Options of ``push_to_hub``."""
    from rl_zoo3.utils import StoreDict

    parser = _parser("push_to_hub", "Evaluate a trained agent and upload it, what its reward has learned included.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--load-best", action="store_true", help="the best model instead of the last")
    which.add_argument("--load-checkpoint", type=int, metavar="STEPS", help="that checkpoint instead of the last model")
    which.add_argument("--load-last-checkpoint", action="store_true", help="the last checkpoint instead of the last model")
    actions = parser.add_mutually_exclusive_group()
    actions.add_argument("--deterministic", action="store_true", help="evaluate the best actions (default but for these two)")
    actions.add_argument("--stochastic", action="store_true", help="evaluate sampled actions (default on Atari and MiniGrid)")
    parser.add_argument("--n-eval-episodes", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--seed", type=int, default=0, help="of the evaluation (default: 0)")
    parser.add_argument("--env-kwargs", nargs="+", action=StoreDict, metavar="KEY:VALUE", help="for the environment")
    parser.add_argument("--video", type=Path, metavar="FILE", help="an .mp4 to show, such as record_video makes")
    parser.add_argument("-m", "--commit-message", default="Upload a trained agent")
    parser.add_argument("--private", action="store_true", default=None, help="visible to you only")
    return parser


def push() -> None:
    """``python -m sb3_infomax.zoo push_to_hub``: evaluate an agent of the RL Zoo's folder and upload it."""
    from huggingface_sb3 import EnvironmentName
    from rl_zoo3.exp_manager import ExperimentManager
    from rl_zoo3.utils import get_model_path
    from stable_baselines3.common.utils import set_random_seed

    arguments = push_parser().parse_args()
    env_name = EnvironmentName(arguments.env)
    _, model_file, log_path = get_model_path(
        arguments.exp_id,
        arguments.folder,
        arguments.algo,
        env_name,
        arguments.load_best,
        arguments.load_checkpoint,
        arguments.load_last_checkpoint,
    )
    model_path, config = Path(model_file), Path(log_path) / env_name
    sampled = ExperimentManager.is_atari(arguments.env) or ExperimentManager.is_minigrid(arguments.env)
    set_random_seed(arguments.seed)
    env, hyperparams, env_kwargs = make_test_env(arguments, config)
    with tempfile.TemporaryDirectory() as folder:
        # the file itself: the model below is loaded without its replay buffer's size
        files = {f"{arguments.algo}-{env_name}.zip": model_path} | write_extras(
            Path(log_path), config, env_kwargs, Path(folder)
        )
        if arguments.video is not None:
            files["replay.mp4"] = arguments.video
        modules = module_files(model_path.name, [path.name for path in model_path.parent.iterdir()])
        url = push_to_hub(
            load_to_act(arguments.algo, model_path, env),
            _repo_id(arguments),
            env,
            env_id=arguments.env,
            module=[model_path.with_name(name) for name in modules],
            n_eval_episodes=arguments.n_eval_episodes,
            deterministic=arguments.deterministic or not (arguments.stochastic or sampled),
            hyperparams=hyperparams,
            files=files,
            commit_message=arguments.commit_message,
            private=arguments.private,
            token=arguments.token,
        )
    env.close()
    print(f"The agent is at {url}")


def make_test_env(arguments: argparse.Namespace, config: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The environment as it was trained in, to evaluate in.

    :param arguments: of the command
    :param config: folder with the RL Zoo's ``config.yml`` and ``args.yml``
    :return: the vector environment, the hyper-parameters, and the arguments of ``gymnasium.make``
    """
    import yaml
    from rl_zoo3.utils import create_test_env, get_saved_hyperparams

    hyperparams, stats_path = get_saved_hyperparams(str(config), test_mode=True)
    shown = {name: value for name, value in hyperparams.items() if name != "normalize_kwargs"}
    env_kwargs = hyperparams.pop("env_kwargs", None) or {}
    if (config / "args.yml").is_file():
        # the user's own file, with Python objects of the RL Zoo in it
        env_kwargs |= yaml.load((config / "args.yml").read_text(), Loader=yaml.UnsafeLoader).get("env_kwargs") or {}
    env_kwargs |= arguments.env_kwargs or {}
    env = create_test_env(
        arguments.env,
        stats_path=stats_path,
        seed=arguments.seed,
        should_render=False,
        hyperparams=copy.deepcopy(hyperparams),
        env_kwargs=env_kwargs,
    )
    return env, dict(shown), env_kwargs


def load_to_act(algorithm: str, path: Path, env: Any) -> Any:
    """A model without memory for a replay buffer.

    :param algorithm: the RL Zoo's name
    :param path: of the model
    :param env: to act in
    """
    from rl_zoo3 import ALGOS
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    small: Any = {"buffer_size": 1, "optimize_memory_usage": False} if issubclass(ALGOS[algorithm], OffPolicyAlgorithm) else {}
    return ALGOS[algorithm].load(path, env=env, **small)


def write_extras(log_path: Path, config: Path, env_kwargs: dict[str, Any], folder: Path) -> dict[str, Path]:
    """What the RL Zoo has beside a model: settings, and the returns of training and evaluations.

    :param log_path: of the experiment
    :param config: folder with its settings
    :param env_kwargs: of the environment
    :param folder: for what is made here
    :return: files by their names on the Hub
    """
    import yaml

    files = {name: config / name for name in SETTINGS if (config / name).is_file()}
    files["env_kwargs.yml"] = folder / "env_kwargs.yml"
    files["env_kwargs.yml"].write_text(yaml.safe_dump(env_kwargs))
    files[METRICS] = folder / METRICS
    with zipfile.ZipFile(files[METRICS], "w") as archive:
        for path in sorted([*log_path.glob("evaluations.npz"), *log_path.glob("*.csv")]):
            archive.write(path, arcname=path.name)
    return files


def load() -> None:
    """``python -m sb3_infomax.zoo load_from_hub``: an agent into the RL Zoo's folder, where ``enjoy`` finds it."""
    parser = _parser("load_from_hub", "Download an agent, what its reward has learned included, into a log folder.")
    parser.add_argument("--trust", action="store_true", help="the files may run code when they are loaded: trust them")
    parser.add_argument("--force", action="store_true", help="overwrite the experiment of that number")
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    arguments = parser.parse_args()
    repo_id, env_name = _repo_id(arguments), file_name(arguments.env)
    check_trust(repo_id, arguments.trust)
    target = experiment_folder(Path(arguments.folder) / arguments.algo, env_name, arguments.exp_id)
    if target.exists() and not arguments.force:
        raise UserError(f"{target} exists: overwrite it by --force, or leave --exp-id out for a new number.")
    remote = RemoteFiles(repo_id, arguments.revision, arguments.token)
    target.parent.mkdir(parents=True, exist_ok=True)
    # in place only when it is whole
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download") as folder:
        fetched = Path(folder) / target.name
        fetch_experiment(remote, f"{arguments.algo}-{env_name}", env_name, fetched)
        shutil.rmtree(target, ignore_errors=True)
        fetched.rename(target)
    print(f"{repo_id} at commit {remote.commit} is in {target}")


def experiment_folder(folder: Path, env_name: str, exp_id: int) -> Path:
    """Where the RL Zoo keeps an experiment.

    :param folder: of the algorithm
    :param env_name: of the environment in names of files
    :param exp_id: number of the experiment, 0 for the next
    :raises UserError: for what has no folder of its own
    """
    from rl_zoo3 import get_latest_run_id

    if exp_id < 0:
        raise UserError("A download needs a folder of its own: leave --exp-id out, or give a number from 1 on.")
    return folder / f"{env_name}_{exp_id or get_latest_run_id(str(folder), env_name) + 1}"


def fetch_experiment(remote: RemoteFiles, name: str, env_name: str, folder: Path) -> None:
    """Download an experiment into the RL Zoo's layout.

    :param remote: the repository
    :param name: of the model there, without extension
    :param env_name: of the environment in names of files
    :param folder: to be made
    """
    config = folder / env_name
    config.mkdir(parents=True)
    for file in [f"{name}.zip", *module_files(f"{name}.zip", remote.hashes)]:
        shutil.copy(remote.download(file), folder / (env_name + file.removeprefix(name)))
    for file in [*SETTINGS, "env_kwargs.yml", VEC_NORMALIZE]:
        if file in remote.hashes:
            shutil.copy(remote.download(file), config / ("vecnormalize.pkl" if file == VEC_NORMALIZE else file))
    if METRICS in remote.hashes:
        with zipfile.ZipFile(remote.download(METRICS)) as archive:
            for member in archive.namelist():
                if "/" not in member and member.endswith((".npz", ".csv")):
                    archive.extract(member, folder)
