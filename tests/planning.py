"""What a planner does with a reward, exactly, in a finite world."""

import numpy as np


def plan(transition, reward, discount=0.95):
    """The actions of the optimal policy for a reward of the state that is reached, by value iteration."""
    values = np.zeros(transition.shape[1])
    for _ in range(600):
        action_values = transition @ (reward + discount * values)  # (n_actions, n_states)
        values = action_values.max(axis=0)
    return action_values.argmax(axis=0)


def ends(transition, policy):
    """Where a policy is after many steps in a deterministic world, from every start."""
    states = np.arange(transition.shape[1])
    for _ in range(60):
        states = transition[policy[states], states].argmax(axis=1)
    return states
