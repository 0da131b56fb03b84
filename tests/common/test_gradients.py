"""The hook on a backward pass: the gradient of the sum, a stack, and nothing left behind."""

import pytest
import torch as th
from torch import nn

from sb3_infomax.common.gradients import GradientHook

X, Y = th.randn(8, 3), th.randn(8, 1)


def network():
    th.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return net, th.optim.Adam(net.parameters(), lr=0.1)


def main_loss(net):
    return (net(X) - Y).square().mean()


def own_loss(net):
    return net(X).abs().mean() + sum(parameter.square().sum() for parameter in net.parameters())


def train(net, optimizer, loss, n_steps=5, set_to_none=True):
    for _ in range(n_steps):
        optimizer.zero_grad(set_to_none=set_to_none)
        loss(net).backward()
        th.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
    return th.cat([parameter.detach().flatten() for parameter in net.parameters()])


@pytest.mark.parametrize("set_to_none", [True, False])
def test_training_equals_that_on_the_explicit_sum(set_to_none):
    """Clipping and the optimizer's moments see the sum."""
    net, optimizer = network()
    explicit = train(net, optimizer, lambda net: own_loss(net) + main_loss(net))
    net, optimizer = network()
    GradientHook(optimizer, lambda: own_loss(net).backward())
    assert th.allclose(train(net, optimizer, main_loss, set_to_none=set_to_none), explicit, atol=1e-7)


def test_the_last_hook_attached_runs_first_and_any_can_go():
    _net, optimizer = network()
    order = []
    hooks = [GradientHook(optimizer, lambda name=name: order.append(name)) for name in "abc"]
    optimizer.zero_grad()
    hooks[1].remove()
    optimizer.zero_grad()
    assert "".join(order) == "cba" + "ca"


def test_removal_restores_the_optimizer_and_twice_is_harmless():
    net, optimizer = network()
    plain = train(net, optimizer, main_loss)
    net, optimizer = network()
    first, second = (GradientHook(optimizer, lambda: own_loss(net).backward()) for _ in range(2))
    for hook in (first, second, second, first):
        hook.remove()
    assert "zero_grad" not in vars(optimizer) and th.equal(train(net, optimizer, main_loss), plain)


def test_a_strangers_shadow_survives():
    _net, optimizer = network()
    calls, original = [], optimizer.zero_grad
    optimizer.zero_grad = stranger = lambda set_to_none=True: (calls.append(1), original(set_to_none=set_to_none))
    hook = GradientHook(optimizer, lambda: calls.append(2))
    optimizer.zero_grad()
    hook.remove()
    assert calls == [1, 2] and optimizer.zero_grad is stranger


def test_an_optimizer_is_saved_without_its_hooks():
    _net, optimizer = network()
    state = set(optimizer.state_dict())
    GradientHook(optimizer, lambda: None)
    assert set(optimizer.state_dict()) == state
