"""Running statistics as buffers of a module: saved, moved and compared with it."""

import torch as th
from torch import Tensor, nn


class RunningMoments(nn.Module):
    """Running mean and variance over the first axis, merged batch by batch (Chan et al., 1983).

    :param shape: of one item
    :param epsilon: weight of the initial mean 0 and variance 1, as in OpenAI Baselines
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = (), epsilon: float = 1e-4) -> None:
        super().__init__()
        # float64: a count of 1e9 leaves float32 no digits for the next batch
        self.register_buffer("mean", th.zeros(shape, dtype=th.float64))
        self.register_buffer("variance", th.ones(shape, dtype=th.float64))
        self.register_buffer("count", th.tensor(epsilon, dtype=th.float64))

    def update(self, values: Tensor) -> None:
        """Merge the moments of ``values``, shape (n, *shape); an empty batch changes nothing."""
        if len(values) == 0:
            return
        n, values = len(values), values.double()
        mean = values.mean(dim=0)
        # by hand: var_mean() over the first axis takes four to seven times as long
        variance = (values - mean).square_().mean(dim=0)
        total = self.count + n
        delta = mean - self.mean
        self.variance.copy_((self.variance * self.count + variance * n + delta.square() * (self.count * n / total)) / total)
        self.mean.add_(delta * (n / total))
        self.count.copy_(total)

    @property
    def std(self) -> Tensor:
        """Standard deviation, shape ``shape``, float32"""
        return self.variance.sqrt().float()

    def normalize(self, values: Tensor, clip: float | None = None) -> Tensor:
        """(values - mean) / std, clipped to [-clip, clip]; features that never varied become 0."""
        normalized = (values - self.mean.float()) / (self.std + 1e-8)
        return normalized if clip is None else normalized.clamp(-clip, clip)
