"""DRIML: C51 whose encoder also learns what an action tells of the observation some steps later."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import Tensor

from sb3_infomax.auxiliary.horizon import Horizon, HorizonName
from sb3_infomax.auxiliary.infonce import Conditioning, InfoNCE
from sb3_infomax.buffers.pairs import ReplayPairs
from sb3_infomax.buffers.replay import ReplayReader, coming_env_indices, untold_ends
from sb3_infomax.c51.c51 import C51
from sb3_infomax.c51.policies import C51Policy
from sb3_infomax.common.arguments import check_arguments, parameters_of
from sb3_infomax.common.coefficients import as_schedule, value_now
from sb3_infomax.common.feature_encoders import ExtractorEncoder, TrunkEncoder
from sb3_infomax.driml.policies import CnnPolicy, DRIMLPolicy, MlpPolicy, MultiInputPolicy
from sb3_infomax.networks.features import Features
from sb3_infomax.randomness import PrivateRNG
from sb3_infomax.registry import unknown_name


class DRIML(C51):
    r"""Deep reinforcement and InfoMax learning (Mazoure, Tachet des Combes, Doan, Bachman and Hjelm, NeurIPS 2020,
    `arXiv 2006.07217 <https://arxiv.org/abs/2006.07217>`_; code: github.com/bmazoure/DRIML).

    C51 and InfoNCE train one encoder, by one optimizer, on the same transitions:

    .. math:: L = L_{C51} + \lambda \sum_{N, M} \lambda_{NM} L_{N \to M}, \qquad
        \log |\text{batch}| - L_{N \to M} \le I([S_t, A_t]; S_{t+k})

    :class:`~sb3_infomax.auxiliary.infonce.InfoNCE` has the second loss in full. :math:`s_t` is encoded once for both. The
    heads belong to the policy, so that a saved run resumes whole. With ``coef=0`` the run is C51's, bit for bit.

    Differences from the paper and its code (those of InfoNCE and C51 stand there):

    1. Pairs that would cross the end of an episode are not trained on, bootstrapping is right for n steps and k = 1 can be had
       together with them, and colour pictures are learned from as they are acted on. The released code does none of this.
    2. ``n_steps`` is 1; the released code has 7.
    3. The critic of ``horizon="ada"`` is trained by the common optimizer, under the common clipping; there it has one of its
       own.
    4. Terms with maps are averaged over locations, as in the Procgen code; the PacMan runs sum.

    :param policy: The policy model to use (MlpPolicy, CnnPolicy, MultiInputPolicy, or a subclass of ``DRIMLPolicy``)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: The learning rate, it can be a function of the current progress remaining (from 1 to 0); code: 2.5e-4
    :param horizon: ``"fix"``, ``"randk"`` or ``"ada"``: how k is chosen
    :param k: the k of ``fix`` (1), the largest of ``randk`` (2) and of ``ada`` (13)
    :param lambda_ll: weight of local to local features
    :param lambda_lg: weight of local to global features
    :param lambda_gl: weight of global to local features
    :param lambda_gg: weight of global to global features; code: this alone, 1
    :param actions: how the action enters, ``"concat"``, ``"film"`` or ``"none"`` (DRIML-noact)
    :param coef: weight of the whole auxiliary loss, a number or a schedule of the remaining progress
    :param infonce_kwargs: other arguments of ``InfoNCE``: ``dim``, ``clip``, ``logit_penalty``, ``negatives``,
        ``n_trajectories``, ``ema``, ``shift``. With ``shift`` both losses see the shifted picture at time t; with
        ``negatives="trajectory"`` the pairs are a batch of their own.
    :param batch_size: transitions, and pairs, of a gradient step; code: 256
    :param train_freq: steps between gradient steps; code: 32, which with 256 transitions is as much replay as DQN's 4 with 32
    :param policy_kwargs: additional arguments to be passed to the policy on creation
    :param kwargs: all other arguments of :class:`~sb3_infomax.c51.c51.C51` and ``stable_baselines3.DQN``

    Logged: ``train/loss``, the sum; ``auxiliary/infonce_...`` as ``InfoNCE`` names it; and what C51 logs.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base: ClassVar[type[C51Policy]] = DRIMLPolicy
    policy: DRIMLPolicy
    auxiliary: InfoNCE
    encoder: ExtractorEncoder | TrunkEncoder
    pairs: ReplayPairs

    def __init__(
        self,
        policy: str | type[DRIMLPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 2.5e-4,
        *,
        horizon: HorizonName | Horizon = "fix",
        k: int | None = None,
        lambda_ll: float = 0.0,
        lambda_lg: float = 0.0,
        lambda_gl: float = 0.0,
        lambda_gg: float = 1.0,
        actions: Conditioning | None = "concat",
        coef: float | Schedule = 1.0,
        infonce_kwargs: dict[str, Any] | None = None,
        batch_size: int = 256,
        train_freq: int | tuple[int, str] = 32,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_arguments([DRIML.__init__], {name: value for name, value in locals().items() if name != "self"})
        if batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, for pairs to contrast with each other, got {batch_size}.")
        self.coef = as_schedule("coef", coef)
        weights = {"lambda_ll": lambda_ll, "lambda_lg": lambda_lg, "lambda_gl": lambda_gl, "lambda_gg": lambda_gg}
        own = {"horizon": horizon, "k": k, "actions": actions} | weights
        if twice := sorted({"batch_size", *own} & (infonce_kwargs or {}).keys()):
            raise ValueError(f"Give {', '.join(twice)} to the algorithm itself, not in infonce_kwargs.")
        for name in (infonce_kwargs or {}).keys() - (known := parameters_of(InfoNCE)):
            raise unknown_name("argument of InfoNCE", name, known)
        check_arguments([InfoNCE.__init__], infonce_kwargs or {}, "InfoNCE")
        policy_kwargs = (policy_kwargs or {}) | {"infonce_kwargs": own | (infonce_kwargs or {})}
        # where the last batch came from, while it is trained on
        self._sampled: list[np.ndarray] = []
        self._auxiliary_logs: dict[str, Tensor] = {}
        super().__init__(
            policy,
            env,
            learning_rate,
            batch_size=batch_size,
            train_freq=train_freq,
            policy_kwargs=policy_kwargs,
            **kwargs,
        )

    def _setup_model(self) -> None:
        self.coef = as_schedule("coef", self.coef)  # load(coef=...) has set a number
        super()._setup_model()
        if not hasattr(self, "rng"):  # a loaded run goes on with its own
            self.rng = PrivateRNG(int(np.random.SeedSequence().generate_state(1)[0]) if self.seed is None else self.seed)
        self._watch_replay()

    def _made_of(self) -> dict[str, Any]:
        infonce = self.policy_kwargs["infonce_kwargs"]
        rest = {name: value for name, value in infonce.items() if name not in parameters_of(DRIML)}
        return self.policy_kwargs | infonce | {"infonce_kwargs": rest}

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.auxiliary, self.encoder = self.policy.auxiliary, self.policy.make_encoder()

    def _watch_replay(self) -> None:
        """Draw pairs from the present buffer."""
        assert self.replay_buffer is not None
        self.pairs = ReplayPairs(ReplayReader(self.replay_buffer, self._vec_normalize_env))

    def load_replay_buffer(self, *args: Any, **kwargs: Any) -> None:
        """See ``OffPolicyAlgorithm.load_replay_buffer``."""
        super().load_replay_buffer(*args, **kwargs)
        self._watch_replay()

    def _setup_learn(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._setup_learn(*args, **kwargs)
        self.pairs.reader.vec_normalize = self._vec_normalize_env
        self.pairs.mark_seam()
        return result

    def _store_transition(
        self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, dones: Any, infos: Any
    ) -> None:
        self.pairs.mark_next_row(untold_ends(dones, infos))
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on batches sampled from the replay buffer; see ``DQN.train``."""
        assert self.replay_buffer is not None
        with remember_places(self.replay_buffer, self._sampled):
            super().train(gradient_steps, batch_size)
        for name, value in self._auxiliary_logs.items():
            self.logger.record(f"auxiliary/infonce_{name}", value.item())
        self._auxiliary_logs = {}

    def _compute_loss(self, replay_data: Any) -> Tensor:
        """C51's loss plus ``coef`` times InfoNCE; the features of s_t serve both."""
        coef = value_now(self.coef, self)
        if coef == 0.0:
            return super()._compute_loss(replay_data)
        with self.rng():
            features = self.encoder(self.auxiliary.augment(replay_data.observations))
        loss = self._cross_entropy(self.policy.logits(self.encoder, features), replay_data)
        with self.rng():
            auxiliary, self._auxiliary_logs = self._auxiliary_loss(replay_data, features)
        return loss + coef * auxiliary

    def _auxiliary_loss(self, replay_data: Any, features: Features) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE on the transitions of the batch, each with the observation k steps later."""
        module = self.auxiliary
        if module.n_trajectories is not None or not self._sampled:
            # pairs of a few trajectories, or hindsight replay, whose batch has goals that were never seen
            pairs = self.pairs.draw(len(replay_data.rewards), module.horizon, module.n_trajectories)
            return module.loss(pairs, self.encoder)
        rows, env_indices = self._sampled
        places = self.pairs.look(self.pairs.numbers(rows, env_indices), module.horizon)
        return module.loss(self.pairs.gather(places, replay_data.observations), self.encoder, features)

    def _excluded_save_params(self) -> list[str]:
        own = ["auxiliary", "encoder", "pairs", "_sampled", "_auxiliary_logs"]
        return [*super()._excluded_save_params(), *own]


@contextmanager
def remember_places(buffer: ReplayBuffer, sampled: list[np.ndarray]) -> Iterator[None]:
    """While this lasts, rows and environments of the batch that was sampled last are put into ``sampled``, (batch,) each."""

    def _get_samples(batch_inds: np.ndarray, env: Any = None) -> Any:
        sampled[:] = batch_inds, coming_env_indices(buffer, batch_inds)
        return type(buffer)._get_samples(buffer, batch_inds, env=env)

    buffer._get_samples = _get_samples  # type: ignore[method-assign]
    try:
        yield
    finally:
        del buffer._get_samples
