"""How far apart the two observations of a pair are: one number, a random one, or one that the actions decide."""

from typing import ClassVar, Literal

import numpy as np
import torch as th
from gymnasium import spaces
from torch import Tensor, nn

from sb3_infomax.mi.bounds import jensen_shannon
from sb3_infomax.mi.critics import ConcatenatedCritic
from sb3_infomax.types import KStepPairs

HorizonName = Literal["fix", "randk", "ada"]

CONCORDANCE_RATE = 0.1  # weight of the newest estimate, as in the authors' code
CRITIC_NET_ARCH = (64,)


class Horizon(nn.Module):
    """k, for every pair of a batch.

    :param max_k: the largest
    """

    #: whether :meth:`sample` looks at the actions a_t ... a_{t+max_k}
    wants_window: ClassVar[bool] = False

    def __init__(self, max_k: int) -> None:
        super().__init__()
        if isinstance(max_k, bool) or not isinstance(max_k, int) or max_k < 0:
            raise ValueError(f"k must be a whole number of at least 0, got {max_k!r}.")
        self.max_k = max_k

    def sample(self, n: int, window: np.ndarray | None = None, length: np.ndarray | None = None) -> np.ndarray:
        """Draw k for n pairs, with torch's generator.

        :param n: how many
        :param window: a_t ... a_{t+max_k}, shape (n, max_k + 1, *action_shape), where wanted
        :param length: how many of these belong to the episode of s_t, at least 1, shape (n,)
        :return: shape (n,), int64
        """
        raise NotImplementedError

    def loss(self, pairs: KStepPairs) -> tuple[Tensor | None, dict[str, Tensor]]:
        """What the horizon learns by itself: None, or a scalar whose gradient reaches nothing else."""
        return None, {}


class FixedHorizon(Horizon):
    """DRIML-fix: the same k for all; 0 pairs every observation with itself."""

    def sample(self, n: int, window: np.ndarray | None = None, length: np.ndarray | None = None) -> np.ndarray:
        return np.full(n, self.max_k)


class RandomHorizon(Horizon):
    """DRIML-randk: uniform on 1 ... max_k, for each row anew."""

    def sample(self, n: int, window: np.ndarray | None = None, length: np.ndarray | None = None) -> np.ndarray:
        return th.randint(1, self.max_k + 1, (n,)).numpy()


class AdaptiveHorizon(Horizon):
    r"""DRIML-ada: skip as long as the next action is what this one made likely.

    A critic Q(a, a') learns by the Jensen-Shannon bound which actions follow each other in the data more often than apart,
    log p(a' | a) / p(a') at its optimum. The concordance A is the running mean of its softmax over a'. From t on,

    .. math:: B_j \sim \mathrm{Bernoulli}(A[a_{t+j}, a_{t+j+1}]), \quad
        k = \max(1, \text{number of successes before the first failure})

    so that the later state sits where behaviour changes. The walk ends with the episode and after ``max_k`` steps.

    The released code asks the concordance for pairs of other indices than those that its critic is trained on, one wide
    softmax over all of them: k falls to 1 within 20 updates. Here both are the actions of the space.

    Logged: ``concordance`` (A at the batch's pairs of actions, on average) and ``action_mi`` (the bound, nats).

    :param action_space: Discrete
    :param max_k: the largest k (13: code)
    """

    wants_window = True
    concordance: Tensor

    def __init__(self, action_space: spaces.Space, max_k: int = 13) -> None:
        super().__init__(max_k)
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(
                f"horizon='ada' follows pairs of discrete actions, and this action space is {type(action_space).__name__}: "
                "use 'fix' or 'randk'."
            )
        n_actions = int(action_space.n)
        self.start = int(action_space.start)
        self.critic = ConcatenatedCritic(n_actions, n_actions, CRITIC_NET_ARCH)
        self.register_buffer("concordance", th.rand(n_actions, n_actions))

    def sample(self, n: int, window: np.ndarray | None = None, length: np.ndarray | None = None) -> np.ndarray:
        assert window is not None and length is not None
        table = self.concordance.cpu().numpy()
        # of each action and the next one in memory; a row's last has none, and the walk stops there
        actions = window.reshape(-1).astype(np.int64, copy=False)
        actions = actions - self.start if self.start else actions
        likely = np.empty((n, window.shape[1]), dtype=table.dtype)
        table.reshape(-1).take(actions[:-1] * len(table) + actions[1:], out=likely.reshape(-1)[:-1], mode="clip")
        likely[:, -1] = 0.0
        failures = th.rand(likely.shape).numpy() >= likely
        return np.maximum(np.minimum(failures.argmax(axis=1), length - 1), 1)

    def loss(self, pairs: KStepPairs) -> tuple[Tensor | None, dict[str, Tensor]]:
        assert pairs.window is not None and pairs.window_length is not None
        actions = pairs.window.reshape(len(pairs), -1)[pairs.window_length > 1, :2].long() - self.start
        if len(actions) == 0:
            return None, {}
        first, second = actions.unbind(dim=1)
        one_hot = th.eye(len(self.concordance), device=first.device)
        scores = self.critic(one_hot, one_hot)
        # every first action with every second one: the product of the batch's own marginals
        bound = jensen_shannon(scores[first, second], scores[first][:, second])
        if self.training:
            self.concordance.lerp_(scores.detach().softmax(dim=1), CONCORDANCE_RATE)
        return -bound, {"action_mi": bound.detach(), "concordance": self.concordance[first, second].mean()}


def make_horizon(horizon: HorizonName | Horizon, k: int | None, action_space: spaces.Space) -> Horizon:
    """A horizon by name.

    :param horizon: ``"fix"``, ``"randk"``, ``"ada"``, or one that is made already
    :param k: its only or largest value; default 1, 2 and 13
    :param action_space: of the environment
    """
    if isinstance(horizon, Horizon):
        return horizon
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}.")
    if horizon == "fix":
        return FixedHorizon(1 if k is None else k)
    if horizon == "randk":
        return RandomHorizon(2 if k is None else k)
    if horizon == "ada":
        return AdaptiveHorizon(action_space, 13 if k is None else k)
    raise ValueError(f"horizon must be 'fix', 'randk' or 'ada', got {horizon!r}.")
