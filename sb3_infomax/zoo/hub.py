"""Trained agents to and from the Hugging Face Hub: the model, what its callbacks have learned, and an honest card."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sb3_infomax.callbacks.auxiliary_loss import AuxiliaryLoss
from sb3_infomax.callbacks.intrinsic_reward import IntrinsicReward
from sb3_infomax.callbacks.saved import SavedCallback
from sb3_infomax.compare.algorithms import ALIASES, SB3_ALGORITHMS, resolve_algorithm, zoo_name
from sb3_infomax.compare.spec import UserError
from sb3_infomax.registry import ALGORITHMS
from sb3_infomax.zoo.card import model_card
from sb3_infomax.zoo.experiment import saved_files

if TYPE_CHECKING:
    import gymnasium as gym
    from huggingface_hub import HfApi
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv

CALLBACKS: dict[str, type[IntrinsicReward] | type[AuxiliaryLoss]] = {"intrinsic": IntrinsicReward, "auxiliary": AuxiliaryLoss}
#: of the RL Zoo: pickled running moments of VecNormalize
VEC_NORMALIZE = "vec_normalize.pkl"
_MODEL = re.compile(r"(?P<algorithm>[a-z0-9_]+)-(?P<env>[^/]+)\.zip")


class HubAgent(NamedTuple):
    """What :func:`load_from_hub` brings.

    :param model: ready to act and to go on learning
    :param callbacks: for ``model.learn(..., callback=callbacks)``, which go on with their modules
    """

    model: "BaseAlgorithm"
    callbacks: list[SavedCallback]


# -- up ----------------------------------------------------------------------------------------------------------------


def push_to_hub(
    model: "BaseAlgorithm",
    repo_id: str,
    eval_env: "VecEnv | gym.Env",
    *,
    env_id: str | None = None,
    module: SavedCallback | str | Path | Sequence[SavedCallback | str | Path] = (),
    n_eval_episodes: int = 20,
    deterministic: bool = True,
    hyperparams: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
    commit_message: str = "Upload a trained agent",
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Evaluate an agent and upload it with its reward module and a card, in the RL Zoo's layout, in one commit.

    .. code-block:: python

        push_to_hub(model, "me/driml-CartPole-v1", eval_env, module=callback)

    :param model: trained
    :param repo_id: ``"<user or organisation>/<name>"``; made where it does not exist
    :param eval_env: for the numbers on the card, best fresh and wrapped in ``Monitor``; with VecNormalize, its moments are
        uploaded too
    :param env_id: for names; default what ``eval_env`` says
    :param module: the ``IntrinsicReward`` and ``AuxiliaryLoss`` that the model was trained with, or files that they saved
    :param n_eval_episodes: how many episodes the numbers are from
    :param deterministic: whether the best actions are taken, or sampled ones
    :param hyperparams: for the card
    :param files: more to upload, by their names there; one named ``<algorithm>-<environment>.zip`` takes the place of the
        model as it is now
    :param commit_message: of the upload
    :param private: visible to you only; default your account's setting
    :param token: default the one that ``hf auth login`` has stored
    :return: address of the repository
    :raises UserError: for what cannot be uploaded, and where the Hub refuses
    """
    api = _api(token)
    algorithm, env_id = algorithm_name(model), env_id or _env_id(eval_env)
    name = f"{algorithm}-{file_name(env_id)}"
    modules = [module] if isinstance(module, (SavedCallback, str, Path)) else list(module)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        if f"{name}.zip" not in (files or {}):
            model.save(folder / f"{name}.zip")
        present = save_modules(folder / name, modules)
        results = evaluate(model, eval_env, n_eval_episodes, deterministic)
        (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        _save_moments(eval_env, folder / VEC_NORMALIZE)
        for target, source in (files or {}).items():
            shutil.copy(source, folder / target)
        card = model_card(
            algorithm, type(model).__name__, env_id, repo_id, model.num_timesteps, results, hyperparams or {}, present
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        with _told(repo_id):
            url = api.create_repo(repo_id, exist_ok=True, private=private)
            # a module that an earlier agent had is not this one's
            stale = [f"*.{kind}.pt" for kind in CALLBACKS]
            api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message=commit_message, delete_patterns=stale)
    return str(url)


def evaluate(model: "BaseAlgorithm", env: "VecEnv | gym.Env", n_episodes: int, deterministic: bool) -> dict[str, Any]:
    """Returns of whole episodes, of the task's own reward.

    :param model: to act
    :param env: where; the moments of VecNormalize stay as they are
    :param n_episodes: how many
    :param deterministic: whether the best actions are taken
    :return: as JSON can hold it
    """
    import numpy as np
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

    moments = unwrap_vec_normalize(env) if isinstance(env, VecEnv) else None
    if moments is not None:
        before = moments.training, moments.norm_reward
        moments.training = moments.norm_reward = False
    try:
        returns, lengths = evaluate_policy(model, env, n_episodes, deterministic, return_episode_rewards=True)
    finally:
        if moments is not None:
            moments.training, moments.norm_reward = before
    return {
        "mean_reward": float(np.mean(returns)),
        "std_reward": float(np.std(returns)),
        "min_reward": float(np.min(returns)),
        "max_reward": float(np.max(returns)),
        "mean_length": float(np.mean(lengths)),
        "n_eval_episodes": int(np.size(returns)),
        "is_deterministic": deterministic,
    }


def save_modules(model: Path, modules: Sequence[SavedCallback | str | Path]) -> list[str]:
    """Put the files of callbacks beside a model.

    :param model: its path, without extension
    :param modules: callbacks, or files that they saved
    :return: names of the files
    """
    callbacks = [_as_callback(module) for module in modules]
    names = []
    for (target, callback), module in zip(saved_files(model, callbacks).items(), modules, strict=True):
        if isinstance(module, SavedCallback):
            callback.save(target)
        else:
            shutil.copy(module, target)
        names.append(target.name)
    return names


def _as_callback(module: SavedCallback | str | Path) -> SavedCallback:
    """A callback, made from its file where that was given: which also tells whether the file is whole."""
    if isinstance(module, SavedCallback):
        return module
    for kind, callback in CALLBACKS.items():
        if str(module).endswith(f".{kind}.pt"):
            fresh: SavedCallback = callback()
            fresh.continue_from(module)
            return fresh
    raise UserError(f"{module} is no file of IntrinsicReward (*.intrinsic.pt) or AuxiliaryLoss (*.auxiliary.pt).")


def _save_moments(env: "VecEnv | gym.Env", path: Path) -> None:
    from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

    moments = unwrap_vec_normalize(env) if isinstance(env, VecEnv) else None
    if moments is not None:
        moments.save(str(path))


def _env_id(env: "VecEnv | gym.Env") -> str:
    from stable_baselines3.common.vec_env import VecEnv

    spec = env.get_attr("spec")[0] if isinstance(env, VecEnv) else env.spec
    if spec is None:
        raise UserError("The evaluation environment does not say its id: pass env_id=...")
    return spec.id


def file_name(env_id: str) -> str:
    """An environment's id in the names of files, as in the RL Zoo."""
    return env_id.rpartition(":")[2].replace("/", "-")


def algorithm_name(model: "BaseAlgorithm") -> str:
    """The RL Zoo's name of a model's class.

    :raises UserError: where it is none of Stable-Baselines3, sb3-contrib and this package
    """
    for name in {**SB3_ALGORITHMS, **ALGORITHMS}:
        if type(model) is resolve_algorithm(name):
            return zoo_name(name)
    raise UserError(f"{type(model).__name__} is not an algorithm that can be named on the Hub: save and upload it yourself.")


# -- down --------------------------------------------------------------------------------------------------------------


def load_from_hub(
    repo_id: str,
    env: "VecEnv | gym.Env | None" = None,
    *,
    model: "BaseAlgorithm | None" = None,
    trust: bool = False,
    filename: str | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> HubAgent:
    """Download an agent and the modules of its callbacks, check every file against the Hub's hashes, and load them.

    .. code-block:: python

        agent = load_from_hub("me/driml-CartPole-v1", env, trust=True)
        agent = load_from_hub("me/driml-CartPole-v1", model=DRIML("MlpPolicy", env))  # runs nothing that is in the files
        agent.model.learn(10_000, callback=agent.callbacks)

    Stable-Baselines3 unpickles a part of a saved model, which can run any code: a whole model needs ``trust``. Given a
    ``model`` that was made here, only its weights are read, as tensors. The files of callbacks hold tensors and JSON only.

    :param repo_id: ``"<user or organisation>/<name>"``
    :param env: for the model; wrapped in VecNormalize where the agent was trained so (a vector environment, and ``trust``)
    :param model: to take the weights; made with the same policy
    :param trust: let Stable-Baselines3 unpickle the file; also by the environment variable ``TRUST_REMOTE_CODE=True``
    :param filename: of the model; default the only ``<algorithm>-<environment>.zip`` that there is
    :param revision: branch, tag or commit
    :param token: for private repositories; default the one that ``hf auth login`` has stored
    :raises UserError: for what is missing, damaged or not trusted
    """
    if model is None:
        check_trust(repo_id, trust, "or give model=..., which takes only the weights")
    remote = RemoteFiles(repo_id, revision, token)
    filename = filename or remote.model_file()
    match = _MODEL.fullmatch(filename)
    if match is None:
        raise UserError(f"{filename} is not named as the RL Zoo names models, <algorithm>-<environment>.zip.")
    algorithm: Any = resolve_algorithm(match["algorithm"])
    path = remote.download(filename)
    if model is not None:
        take_weights(model, path, algorithm)
    else:
        if VEC_NORMALIZE in remote.hashes and env is not None:
            env = _with_moments(env, remote.download(VEC_NORMALIZE))
        model = algorithm.load(path, env=env)
    callbacks: list[SavedCallback] = []
    for name in module_files(filename, remote.hashes):
        callbacks.append(CALLBACKS[name.split(".")[-2]].load(remote.download(name)))
    return HubAgent(model, callbacks)


def module_files(model: str, names: Iterable[str]) -> list[str]:
    """The files of callbacks beside a model, in the order of the callbacks of each kind.

    :param model: name of its file
    :param names: of all files there
    """
    pattern = re.compile(re.escape(model.removesuffix(".zip")) + rf"(_\d+)?\.({'|'.join(CALLBACKS)})\.pt")
    return sorted(filter(pattern.fullmatch, names), key=lambda name: (name.split(".")[-2], len(name), name))


def check_trust(repo_id: str, trust: bool, instead: str = "") -> None:
    """Refuse to unpickle what a stranger has written.

    :param repo_id: whose files
    :param trust: whether the user trusts them
    :param instead: what else can be done
    :raises UserError: where neither the user nor ``TRUST_REMOTE_CODE`` says so
    """
    if not trust and os.environ.get("TRUST_REMOTE_CODE", "").lower() not in ("1", "true", "yes", "y", "on"):
        raise UserError(
            "Stable-Baselines3 unpickles saved models, which can run any code that is in them: if you trust "
            f"{repo_id}, say so by trust (trust=True, --trust, or TRUST_REMOTE_CODE=True){', ' + instead if instead else ''}."
        )


def take_weights(model: "BaseAlgorithm", path: Path, algorithm: type) -> None:
    """Parameters and optimizers of a saved model, without unpickling anything.

    :param model: to take them
    :param path: of the saved model
    :param algorithm: that it is of
    :raises UserError: where it is of another algorithm or does not fit
    """
    if type(model) is not algorithm:
        raise UserError(f"The file is of {algorithm.__name__}, and the model given is {type(model).__name__}.")
    try:
        model.set_parameters(str(path), device=model.device)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"The weights do not fit the model given: make it with the same policy and policy_kwargs ({error})."
        ) from error


def _with_moments(env: "VecEnv | gym.Env", path: Path) -> "VecEnv | gym.Env":
    from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

    if not isinstance(env, VecEnv):
        raise UserError("The agent was trained with VecNormalize: give a vector environment, such as make_vec_env's.")
    return env if unwrap_vec_normalize(env) is not None else VecNormalize.load(str(path), env)


class RemoteFiles:
    """The files of one commit on the Hub.

    :param repo_id: of the repository
    :param revision: branch, tag or commit; all files are of the commit that this is now
    :param token: of the user
    """

    def __init__(self, repo_id: str, revision: str | None = None, token: str | None = None) -> None:
        self.repo_id, self.api = repo_id, _api(token)
        with _told(repo_id):
            info = self.api.model_info(repo_id, revision=revision, files_metadata=True)
        self.commit = info.sha
        #: by name: the algorithm and the hash that the Hub has
        self.hashes: dict[str, tuple[str, str | None]] = {
            file.rfilename: ("git", file.blob_id) if file.lfs is None else ("sha256", file.lfs.sha256)
            for file in info.siblings or []
        }

    def model_file(self) -> str:
        """:return: the name of the only model"""
        known = {*SB3_ALGORITHMS, *ALIASES, *ALGORITHMS}
        models = [name for name in self.hashes if (match := _MODEL.fullmatch(name)) and match["algorithm"] in known]
        if len(models) != 1:
            found = f"has {', '.join(models)}: choose by filename=..." if models else "has no <algorithm>-<environment>.zip."
            raise UserError(f"{self.repo_id} {found}")
        return models[0]

    def download(self, name: str) -> Path:
        """One file, whole and as it is on the Hub.

        :param name: in the repository
        :return: where it lies, in the cache of ``huggingface_hub``
        :raises UserError: where it does not exist or comes damaged, twice
        """
        if name not in self.hashes:
            raise UserError(f"{self.repo_id} has no file {name}.")
        for again in (False, True):  # what lies in the cache may be damaged: fetch it anew
            with _told(self.repo_id):
                path = Path(self.api.hf_hub_download(self.repo_id, name, revision=self.commit, force_download=again))
            if content_hash(path, self.hashes[name][0]) == self.hashes[name][1]:
                return path
        raise UserError(f"{name} of {self.repo_id} came damaged, twice: its content is not what the Hub says it is.")


def content_hash(path: Path, kind: str) -> str:
    """The hash of a file.

    :param path: of the file
    :param kind: ``"sha256"``, or ``"git"`` for the id of git's blob
    """
    content = path.read_bytes()
    if kind == "sha256":
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _api(token: str | None) -> "HfApi":
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError("The Hub needs huggingface_hub: pip install 'sb3-infomax[zoo]'") from error
    return HfApi(token=token, library_name="sb3-infomax")


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """What goes wrong on the way to the Hub, as a sentence."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except Exception as error:
        # the client lets the errors of its HTTP library through, which has had several names
        from_below = type(error).__module__.startswith("httpx")
        if not from_below and not isinstance(error, (HfHubHTTPError, HFValidationError, OSError)):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"The Hugging Face Hub does not give or take {repo_id}: {reason}") from error
