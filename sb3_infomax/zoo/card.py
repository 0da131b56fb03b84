"""The page that the Hugging Face Hub shows of an agent."""

from collections.abc import Mapping, Sequence
from pprint import pformat
from typing import Any

from sb3_infomax import __version__

TEMPLATE = """---
{metadata}
---

# {cls} on {env_id}

An agent trained with [Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and sb3-infomax {version} for
{n_timesteps:,} steps (those since training began or was last taken up).

## Evaluation

| | |
|---|---|
| mean return | {mean_reward:.2f} |
| standard deviation | {std_reward:.2f} |
| lowest, highest | {min_reward:.2f}, {max_reward:.2f} |
| episodes, mean length | {n_eval_episodes}, {mean_length:.1f} |
| actions | {actions} |

Of the task's own reward: no intrinsic reward is counted. The standard deviation is that between episodes of this one agent.
It is one training run, and says little about the next seed or about the method.

## Use

```
pip install "sb3-infomax[zoo]"
python -m sb3_infomax.zoo load_from_hub --repo-id {repo_id} --algo {algorithm} --env {env_id} -f logs --trust
python -m sb3_infomax.zoo enjoy --algo {algorithm} --env {env_id} -f logs
```

```python
from sb3_infomax.zoo import load_from_hub

model, callbacks = load_from_hub("{repo_id}", env, trust=True)
model.learn(10_000, callback=callbacks)
```

Stable-Baselines3 unpickles a part of what it loads, which can run any code; hence `--trust`.{modules}{hyperparams}
"""

MODULES = """

## Beside the model

{files} (tensors and JSON, read without running anything): what the intrinsic reward or auxiliary loss has learned.
Training goes on with it. Acting does not need it.
"""

HYPERPARAMS = """

## Hyper-parameters

```python
{text}
```
"""


def model_card(
    algorithm: str,
    cls: str,
    env_id: str,
    repo_id: str,
    n_timesteps: int,
    results: Mapping[str, Any],
    hyperparams: Mapping[str, Any],
    modules: Sequence[str],
) -> str:
    """The card as Markdown, with the Hub's metadata before it.

    :param algorithm: the RL Zoo's name
    :param cls: name of the algorithm's class
    :param env_id: the environment
    :param repo_id: where it will be
    :param n_timesteps: that the model was trained for
    :param results: of :func:`~sb3_infomax.zoo.hub.evaluate`
    :param hyperparams: as the RL Zoo has them
    :param modules: names of the files of callbacks
    """
    from huggingface_hub import EvalResult, ModelCardData

    result = EvalResult(
        task_type="reinforcement-learning",
        task_name="reinforcement-learning",
        dataset_type=env_id,
        dataset_name=env_id,
        metric_type="mean_reward",
        metric_name="mean_reward",
        metric_value=f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}",
        verified=False,
    )
    metadata = ModelCardData(
        library_name="stable-baselines3",
        tags=[env_id, "deep-reinforcement-learning", "reinforcement-learning", "stable-baselines3", "sb3-infomax"],
        model_name=cls,
        eval_results=[result],
    )
    return TEMPLATE.format(
        metadata=metadata.to_yaml(),
        cls=cls,
        env_id=env_id,
        repo_id=repo_id,
        algorithm=algorithm,
        version=__version__,
        n_timesteps=n_timesteps,
        actions="best" if results["is_deterministic"] else "sampled",
        modules=MODULES.format(files=" and ".join(f"`{name}`" for name in modules)) if modules else "",
        hyperparams=HYPERPARAMS.format(text=pformat(dict(hyperparams))) if hyperparams else "",
        **{name: value for name, value in results.items() if name != "is_deterministic"},
    )
