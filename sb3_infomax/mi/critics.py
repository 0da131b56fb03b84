"""Critics T(x, y): how well does y fit x?

Each scores in two ways:

- ``critic(x, y)``: every x with every y, (n, x_dim) and (m, y_dim) -> (n, m); rows x, columns y, for
  :func:`~sb3_infomax.mi.bounds.infonce` or, through :func:`~sb3_infomax.mi.bounds.joint_and_marginal`, the others.
- ``critic.paired(x, y)``: row i of x with row i of y, (n, x_dim) and (n, y_dim) -> (n,); where positives and
  negatives are chosen by hand, as EMI does.

``critic(x, y).diagonal()`` equals ``critic.paired(x, y)``.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, cat, nn
from torch.nn.functional import linear

from sb3_infomax.networks.encoders import initialize, make_mlp

Initialization = Literal["xavier", "orthogonal"]


class Critic(nn.Module):
    """What the critics share: scores of all pairs out of the scores of given ones.

    A subclass defines :meth:`paired`, and :meth:`forward` too where it knows a cheaper way than n * m single scores.
    """

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Score row i of x with row i of y.

        :param x: shape (n, x_dim)
        :param y: shape (n, y_dim)
        :return: shape (n,)
        :raises ValueError: where x and y differ in their number of rows
        """
        if len(x) != len(y):
            raise ValueError(f"Paired scores need as many x as y, got {len(x)} and {len(y)}; call the critic for all pairs.")
        return self._score_rows(x, y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score every x with every y.

        :param x: shape (n, x_dim)
        :param y: shape (m, y_dim)
        :return: ``scores[i, j] = T(x_i, y_j)``, shape (n, m)
        """
        n, m = len(x), len(y)
        return self._score_rows(x.repeat_interleave(m, dim=0), y.repeat(n, 1)).view(n, m)

    def _score_rows(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError("_score_rows(x: (n, x_dim), y: (n, y_dim)) -> (n,)")


class BilinearCritic(Critic):
    """T(x, y) = x^T W y, the critic of Contrastive Predictive Coding. Costs one matrix product for all pairs.

    :param x_dim: length of x
    :param y_dim: length of y
    :param init: how W is drawn; None leaves PyTorch's default
    """

    def __init__(self, x_dim: int, y_dim: int, *, init: Initialization | None = None) -> None:
        super().__init__()
        self.projection = nn.Linear(x_dim, y_dim, bias=False)
        if init is not None:
            initialize(self, init)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.projection(x) @ y.T

    def _score_rows(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.projection(x) * y).sum(dim=1)


class SeparableCritic(Critic):
    """T(x, y) = g(x)^T h(y) with a network each, n + m network evaluations for n * m scores.

    :param x_dim: length of x
    :param y_dim: length of y
    :param net_arch: widths of the hidden layers of g and of h
    :param embedding_dim: length of g(x) and h(y)
    :param init: how weights are drawn, biases then being 0; None leaves PyTorch's default
    """

    def __init__(
        self,
        x_dim: int,
        y_dim: int,
        net_arch: Sequence[int] = (64, 64),
        embedding_dim: int = 32,
        *,
        init: Initialization | None = None,
    ) -> None:
        super().__init__()
        self.embed_x = make_mlp(x_dim, net_arch, embedding_dim)
        self.embed_y = make_mlp(y_dim, net_arch, embedding_dim)
        if init is not None:
            initialize(self, init)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.embed_x(x) @ self.embed_y(y).T

    def _score_rows(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.embed_x(x) * self.embed_y(y)).sum(dim=1)


class ConcatenatedCritic(Critic):
    """T(x, y) = one network of [x, y]: the most flexible, with n * m evaluations for all pairs. EMI's, used paired.

    :param x_dim: length of x
    :param y_dim: length of y
    :param net_arch: widths of the hidden layers, EMI's by default
    :param init: how weights are drawn, biases then being 0, "xavier" in EMI; None leaves PyTorch's default
    """

    def __init__(
        self, x_dim: int, y_dim: int, net_arch: Sequence[int] = (64, 64), *, init: Initialization | None = None
    ) -> None:
        super().__init__()
        self.network = make_mlp(x_dim + y_dim, net_arch, 1)
        if init is not None:
            initialize(self, init)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        # the first layer is linear in [x, y]: of each x and each y alone, and then summed
        first, rest = self.network[0], self.network[1:]
        x_part, y_part = first.weight.split([x.shape[1], y.shape[1]], dim=1)  # type: ignore[operator]
        return rest(linear(x, x_part)[:, None] + linear(y, y_part, first.bias)).squeeze(2)  # type: ignore[arg-type]

    def _score_rows(self, x: Tensor, y: Tensor) -> Tensor:
        return self.network(cat([x, y], dim=1)).squeeze(1)
