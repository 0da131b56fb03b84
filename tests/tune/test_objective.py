"""What a trial is worth, and which trials are ended early; with made-up runs, so that every score is known."""

import math
import threading
from dataclasses import replace

import optuna
import pytest

from sb3_infomax.compare.spec import RunSpec, UserError, parse_method
from sb3_infomax.compare.storage import EVALUATION_COLUMNS, RunFolder, csv_text, locked, write_json
from sb3_infomax.tune.objective import Objective
from sb3_infomax.tune.search import plan_search
from sb3_infomax.tune.spaces import read_space
from sb3_infomax.tune.study import StudySpec, claim_study, make_pruner, make_sampler
from sb3_infomax.tune.work import outcomes, work
from sb3_infomax.tune.worker import sampler_seed


def spec_of(seeds=(1000,), pruner="auto", score="last", **changes):
    base = RunSpec("CartPole-v1", "ppo", **{"timesteps": 100, "eval_points": 10, "eval_episodes": 2, **changes})
    return StudySpec(base, tuple(seeds), plan_search("ppo", chosen=["ppo.gamma"]), score, pruner)


def trainer(value_of, done=None):
    """Instead of training: an evaluation at each tenth, whose returns are ``value_of(gamma, seed, share)``."""

    def train(spec, folder, progress, on_evaluation=None):
        rows = []
        gamma = parse_method(spec.method).algorithm.settings["gamma"]
        for point in range(11):
            step = point * spec.timesteps // 10
            value = value_of(gamma, spec.seed, point / 10)
            rows += [{"timesteps": step, "episode": episode, "return": value} for episode in range(2)]
            folder.evaluations.write_text(csv_text(EVALUATION_COLUMNS, rows))
            if on_evaluation is not None:
                import numpy as np

                on_evaluation(step, np.array([value, value]))
        write_json(folder.finished, {})
        if done is not None:
            done.append(str(folder.path))

    return train


def study_of(spec, n_trials, tmp_path, train):
    study = optuna.create_study(direction="maximize", sampler=make_sampler("random", 0), pruner=make_pruner(spec))
    work(study, Objective(spec, tmp_path, train), n_trials, starts=[spec.search.start])
    return study


def rows(*values):
    return [{"timesteps": 10.0 * point, "return": value} for point, value in enumerate(values)]


def test_the_score_is_the_last_fifth_or_the_whole_area():
    """Evaluations at 0, 10, ..., 100 of 100 steps: the last fifth are those at 80, 90 and 100."""
    evaluations = rows(*range(11))
    assert spec_of().score_of(evaluations) == 9.0
    assert spec_of(score="area").score_of(evaluations) == 5.5


def test_training_beyond_the_budget_does_not_count():
    """A rollout that ends at 200 of 100 steps: what it has learned by then is not what 100 steps teach."""
    late = [*rows(*[1.0] * 10), {"timesteps": 200.0, "return": 50.0}]
    assert spec_of().score_of(late) == 1.0
    assert spec_of().score_of([*late, {"timesteps": 104.0, "return": 4.0}]) == 2.0


def test_a_trial_is_the_mean_of_its_seeds_and_the_first_one_the_defaults(tmp_path):
    study = study_of(spec_of(seeds=(3, 5)), 2, tmp_path, trainer(lambda gamma, seed, share: gamma + seed))
    first = study.trials[0]
    assert first.params == {"ppo.gamma": 0.99} and first.value == pytest.approx(4.99)
    assert first.user_attrs["scores"] == pytest.approx([3.99, 5.99]) and first.user_attrs["method"] == "ppo:gamma=0.99"
    assert {path.name for path in (tmp_path / "trials" / "0").iterdir()} == {"seed_3", "seed_5"}


def test_the_median_ends_a_bad_trial_within_its_first_seed(tmp_path):
    """Ten trials, those with a small discount worth nothing: such a one is not trained to its end once five are whole."""
    study = study_of(spec_of(seeds=(1, 2)), 12, tmp_path, trainer(lambda gamma, seed, share: share * (gamma > 0.9)))
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert pruned and all(trial.params["ppo.gamma"] == 0.9 for trial in pruned)
    assert all(max(trial.intermediate_values) < 100 and "scores" not in trial.user_attrs for trial in pruned)


def test_wilcoxon_ends_a_trial_that_loses_on_seed_after_seed(tmp_path):
    """Seeds differ more than settings do, which the pairs do not mind."""
    study = study_of(spec_of(seeds=range(8)), 12, tmp_path, trainer(lambda gamma, seed, share: 10 * seed + gamma))
    best = max(trial.params["ppo.gamma"] for trial in study.trials)
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert pruned and all(trial.params["ppo.gamma"] < best and len(trial.user_attrs["scores"]) == 4 for trial in pruned)
    assert study.best_params["ppo.gamma"] == best


def test_wilcoxon_needs_four_seeds():
    """With n seeds all lost, the signed-rank test's p is 1 / 2^n, and the pruner's level 0.1."""
    assert [spec_of(seeds=range(n)).pruning for n in (1, 3, 4)] == ["median", "median", "wilcoxon"]
    assert 1 / 2**3 > 0.1 > 1 / 2**4
    with pytest.raises(UserError, match="needs at least 4 of them, not 2: give more --seeds"):
        spec_of(seeds=(1, 2), pruner="wilcoxon")


def test_a_first_trial_is_the_defaults_only_where_their_spaces_have_them_all():
    first = optuna.trial.create_trial(value=1.0, user_attrs={"task": "trial 0"})
    outside = plan_search("ppo", own={"ppo": read_space("ppo", {"gamma": {"low": 0.1, "high": 0.5}}, "here")})
    assert spec_of().is_default(first) and not replace(spec_of(), search=outside).is_default(first)


def test_a_score_that_is_no_number_fails_its_trial_with_a_reason(tmp_path):
    nan_at_default = trainer(lambda gamma, seed, share: math.nan if gamma == 0.99 else gamma)
    study = study_of(spec_of(pruner="none"), 4, tmp_path, nan_at_default)
    failed = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert failed and all("no numbers" in trial.user_attrs["reason"] for trial in failed)
    assert len(outcomes(study)) == 4 and study.best_value < 1


def test_seeds_that_are_finished_are_not_run_again(tmp_path):
    """A trial that was cut off after its first seed, and is done by another worker."""
    done = []
    spec = spec_of(seeds=(1, 2))
    train = trainer(lambda gamma, seed, share: gamma, done)

    def interrupted(spec, folder, progress, on_evaluation=None):
        if spec.seed == 2 and len(done) == 1:
            raise KeyboardInterrupt
        train(spec, folder, progress, on_evaluation)

    study = optuna.create_study(direction="maximize", pruner=make_pruner(spec))
    with pytest.raises(KeyboardInterrupt):
        work(study, Objective(spec, tmp_path, interrupted), 1, starts=[spec.search.start])
    work(study, Objective(spec, tmp_path, train), 1)
    assert [path.rsplit("/", 1)[1] for path in done] == ["seed_1", "seed_2"]
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"] and study.best_params == {"ppo.gamma": 0.99}


def test_a_retry_waits_for_a_worker_that_was_believed_dead_and_takes_its_run(tmp_path):
    spec, done = spec_of(), []
    train, folder = trainer(lambda gamma, seed, share: 7.0, done), RunFolder(tmp_path / "trials" / "0" / "seed_1000")
    folder.path.mkdir(parents=True)
    with locked(folder.path, "busy"):
        retry = threading.Thread(target=lambda: done.append(study_of(spec, 1, tmp_path, train)))
        retry.start()
        retry.join(timeout=0.5)
        assert retry.is_alive() and not done
        train(spec.spec("ppo:gamma=0.99", 1000), folder, None)
    retry.join(timeout=30)
    path, study = done
    assert path == str(folder.path) and study.best_value == 7.0


def test_a_study_survives_json_and_knows_another_one():
    spec = spec_of()
    assert StudySpec.from_json(spec.to_json()) == spec
    study = optuna.create_study(study_name="mine")
    claim_study(study, spec)
    claim_study(study, spec)
    with pytest.raises(UserError, match=r"'mine' is another one.*timesteps = 100, not 200"):
        claim_study(study, spec_of(timesteps=200))


def test_samplers_of_different_processes_and_moments_have_different_seeds():
    seeds = [sampler_seed(0, worker, n_known) for worker in range(3) for n_known in (0, 7)]
    assert len(set(seeds)) == 6 and sampler_seed(0, 1, 7) == seeds[3] and sampler_seed(None, 0, 0) is None
