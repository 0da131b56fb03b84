"""Set-up shared by all tests: no display, one torch thread per process, equal seeds whatever runs first."""

import os

# Read when the libraries are loaded, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
if "DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "disable")

import random
import signal

import numpy as np
import pytest
import torch as th

th.set_num_threads(1)

# What a shell starts in the background ignores Ctrl-C, and so do its children: tests that send it would be ignored as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same global generators, alone or in any order."""
    random.seed(0)
    np.random.seed(0)
    th.manual_seed(0)
