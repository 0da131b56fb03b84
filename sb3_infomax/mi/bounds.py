"""Variational lower bounds on mutual information, as functions of a critic's scores.

One convention for all of them:

- Every function returns a scalar tensor **in nats, to be maximised**; a loss is minus a bound, the minus sign is the caller's.
- ``scores`` is a matrix of shape (batch, batch): rows are x, columns are y, ``scores[i, j] = T(x_i, y_j)``. The pairs on the
  diagonal were drawn together, those off it were not.
- ``positive_scores`` are scores T of pairs drawn from the joint p(x, y), ``negative_scores`` of pairs drawn from the product
  p(x) p(y). Any shapes, any two numbers of pairs: each is averaged over all its elements, so nothing is ever broadcast.
  :func:`joint_and_marginal` makes both out of a matrix. Negatives that contain true pairs (a random permutation leaves
  about one) pull the bounds down.

Each bound is attained by a critic that is a function of the log density ratio r = log p(x, y) / (p(x) p(y)):

==========================  =======================  ===========================  ==========================
function                    optimal critic           its value there              range
==========================  =======================  ===========================  ==========================
:func:`infonce`             r + any c(x)             below I(X; Y)                at most log batch
:func:`jensen_shannon`      r                        2 JS(joint || product)       at most 2 log 2
:func:`donsker_varadhan`    r + any constant         I(X; Y)                      unbounded
:func:`nwj`                 r + 1                    I(X; Y)                      unbounded
:func:`barber_agakov`       log_q = log p(x | y)     I(X; Y)                      at most the entropy, x discrete
==========================  =======================  ===========================  ==========================

Bounds and the variance of their estimates are compared by Poole et al., "On Variational Bounds of Mutual Information"
(ICML 2019, https://arxiv.org/abs/1905.06922): Donsker-Varadhan and NWJ estimates spread exponentially in I(X; Y), those of
InfoNCE and Jensen-Shannon do not.
"""

import math

import torch as th
import torch.nn.functional as F
from torch import Tensor


def _check_square(scores: Tensor, least: int) -> None:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or len(scores) < least:
        shape = tuple(scores.shape)
        raise ValueError(f"Scores must be a square matrix of at least {least} x {least} pairs, got shape {shape}.")


def _check_not_empty(**scores: Tensor) -> None:
    for name, values in scores.items():
        if values.numel() == 0:
            raise ValueError(f"A bound needs at least one pair, but {name} has shape {tuple(values.shape)}.")


def _log_mean_exp(scores: Tensor) -> Tensor:
    return th.logsumexp(scores.flatten(), dim=0) - math.log(scores.numel())


def joint_and_marginal(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Split a matrix of scores into those of true pairs and those of all others.

    :param scores: rows x, columns y, shape (batch, batch), batch >= 2
    :return: the diagonal, shape (batch,), and the rest row by row, shape (batch * (batch - 1),)
    :raises ValueError: for anything but a square matrix of at least two pairs
    """
    _check_square(scores, least=2)
    batch_size = len(scores)
    # Without its last element, the flattened matrix is rows of (one diagonal element, batch_size others)
    off_diagonal = scores.flatten()[1:].view(batch_size - 1, batch_size + 1)[:, :-1]
    return scores.diagonal(), off_diagonal.flatten()


def infonce(scores: Tensor) -> Tensor:
    """InfoNCE: log batch + mean_i log softmax_j(T(x_i, y_j))[i].

    It asks which of the batch's y belongs to x_i; ``infonce(scores.T)`` asks for the x of every y. Never more than log batch,
    so a batch of b cannot show more than log b nats; 0 for a blind critic and for a batch of one.
    van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018), https://arxiv.org/abs/1807.03748;
    the bound is their appendix A.1, a rigorous proof is in Poole et al. (2019).

    :param scores: rows x, columns y, positives on the diagonal, shape (batch, batch)
    :return: scalar, nats, at most log batch
    :raises ValueError: for anything but a square matrix
    """
    _check_square(scores, least=1)
    return math.log(len(scores)) + F.log_softmax(scores, dim=1).diagonal().mean()


def jensen_shannon(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Jensen-Shannon: 2 log 2 - E_joint[softplus(-T)] - E_product[softplus(T)].

    **Not an estimate of I(X; Y)**: its maximum is twice the Jensen-Shannon divergence of joint and product, which lies
    between 0 and 2 log 2, keeps the order of Gaussian pairs and is at most I(X; Y), mostly about half of it and less (its
    generator t log t - (1 + t) log((1 + t) / 2) is nowhere above that of KL, t log t - t + 1). In return its gradients are
    unbiased and bounded. To read I(X; Y) off the critic it trains, evaluate ``nwj(positive + 1, negative + 1)`` (Poole et
    al., 2019). Used by EMI; some papers leave the constant out. 0 for a blind critic.
    Nowozin et al., "f-GAN" (2016), https://arxiv.org/abs/1606.00709; Hjelm et al., "Learning deep representations by mutual
    information estimation and maximization" (ICLR 2019), https://arxiv.org/abs/1808.06670.

    :param positive_scores: pairs from the joint, any shape
    :param negative_scores: pairs from the product, any shape
    :return: scalar, nats, at most 2 log 2
    :raises ValueError: where either is empty
    """
    _check_not_empty(positive_scores=positive_scores, negative_scores=negative_scores)
    return 2 * math.log(2) - F.softplus(-positive_scores).mean() - F.softplus(negative_scores).mean()


def donsker_varadhan(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Donsker-Varadhan: E_joint[T] - log E_product[e^T].

    The log of a batch's mean makes the gradient biased and the value too high on small batches: for training see
    :func:`donsker_varadhan_ema`. Unchanged by a constant added to all scores; 0 for a blind critic.
    Donsker and Varadhan (1983); as an objective for networks: Belghazi et al., "Mutual Information Neural Estimation" (ICML
    2018), https://arxiv.org/abs/1801.04062.

    :param positive_scores: pairs from the joint, any shape
    :param negative_scores: pairs from the product, any shape
    :return: scalar, nats
    :raises ValueError: where either is empty
    """
    _check_not_empty(positive_scores=positive_scores, negative_scores=negative_scores)
    return positive_scores.mean() - _log_mean_exp(negative_scores)


def donsker_varadhan_ema(
    positive_scores: Tensor, negative_scores: Tensor, log_ema: Tensor | None = None, rate: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Donsker-Varadhan with MINE's less biased gradient.

    The value is that of :func:`donsker_varadhan`. The gradient is E_joint[dT] - E_product[e^T dT] / ema, where ema is the
    exponential moving average of the batches' E_product[e^T], this one included, instead of this batch's alone; with
    ``rate=1`` both agree. Belghazi et al. (2018), section 3.2.

    The average is kept as a logarithm, so that no score overflows; it enters the gradient as a constant. State is the
    caller's: hand the second result to the next call ::

        bound, log_ema = donsker_varadhan_ema(positive_scores, negative_scores, log_ema)
        (-bound).backward()

    :param positive_scores: pairs from the joint, any shape
    :param negative_scores: pairs from the product, any shape
    :param log_ema: log of the moving average so far, a scalar; None starts with this batch's
    :param rate: weight of this batch in the new average, in (0, 1]
    :return: the bound, a scalar in nats, and the new ``log_ema``, a scalar without gradient
    :raises ValueError: for an empty input or a rate outside (0, 1]
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate must lie in (0, 1], got {rate}.")
    _check_not_empty(positive_scores=positive_scores, negative_scores=negative_scores)
    log_mean = _log_mean_exp(negative_scores)
    batch_log_mean = log_mean.detach()
    if log_ema is None:
        new_log_ema = batch_log_mean
    else:
        weights = th.tensor([1 - rate, rate], dtype=log_mean.dtype, device=log_mean.device)
        averages = th.stack([log_ema.detach().to(log_mean), batch_log_mean])
        new_log_ema = th.logsumexp(averages + weights.log(), dim=0)
    # e^(log_mean - new_log_ema) is at most 1 / rate, and its gradient is the wanted E[e^T dT] / ema
    surrogate = positive_scores.mean() - th.exp(log_mean - new_log_ema)
    bound = positive_scores.mean() - log_mean
    return bound.detach() + surrogate - surrogate.detach(), new_log_ema


def nwj(positive_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Nguyen-Wainwright-Jordan, also f-GAN's KL and MINE-f: E_joint[T] - E_product[e^(T - 1)].

    Unbiased, value and gradient, but of high variance; below Donsker-Varadhan for the same scores. -1/e for a blind critic
    (T = 0). Scores above about 89 (float32) overflow to minus infinity: clamp a critic that may run away.
    Nguyen et al., "Estimating divergence functionals and the likelihood ratio by convex risk minimization" (2010),
    https://arxiv.org/abs/0809.0853.

    :param positive_scores: pairs from the joint, any shape
    :param negative_scores: pairs from the product, any shape
    :return: scalar, nats
    :raises ValueError: where either is empty
    """
    _check_not_empty(positive_scores=positive_scores, negative_scores=negative_scores)
    return positive_scores.mean() - th.exp(_log_mean_exp(negative_scores) - 1)


def barber_agakov(log_q: Tensor, entropy: Tensor | float) -> Tensor:
    """Barber-Agakov: E_joint[log q(x | y)] + H(X), for a decoder q that tries to tell x from y.

    Needs no negatives, but a normalised q and a known entropy. The gap is E_y[KL(p(x | y) || q(x | y))].
    Barber and Agakov, "The IM Algorithm: A Variational Approach to Information Maximization" (NIPS 2003).

    :param log_q: log q(x_i | y_i) in nats for pairs from the joint, any shape
    :param entropy: H(X) in nats, differential where x is continuous (log q is then a log density)
    :return: scalar, nats
    :raises ValueError: where ``log_q`` is empty
    """
    _check_not_empty(log_q=log_q)
    return log_q.mean() + entropy
