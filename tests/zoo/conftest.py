"""The RL Zoo's commands in this process, on a folder of their own, and a hub to talk to."""

import sys
from collections.abc import Callable, Iterator

import gymnasium
import pytest
from fake_hub import FakeHub, running_hub


@pytest.fixture(scope="session")
def rl_zoo() -> None:
    """The RL Zoo is imported, and what it patches in gymnasium put back: other tests know nothing of it."""
    time_limit = gymnasium.wrappers.TimeLimit
    pytest.importorskip("rl_zoo3", reason="needs the RL Zoo: pip install 'sb3-infomax[zoo]'")
    for module in (gymnasium.wrappers, gymnasium.wrappers.common, gymnasium.envs.registration):
        module.TimeLimit = time_limit


@pytest.fixture
def zoo(rl_zoo, tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """``zoo("train --algo c51 ...")`` gives exit code, output and errors; ``logs`` is the folder for ``-f``."""
    from sb3_infomax.zoo.__main__ import main

    monkeypatch.chdir(tmp_path)

    def run(line: str, *more: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patches:
            patches.setattr(sys, "argv", ["zoo"])
            code = main([*line.split(), *more])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    """A hub on this machine in the place of the real one, for the real client."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with running_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.delenv("TRUST_REMOTE_CODE", raising=False)
        yield server
