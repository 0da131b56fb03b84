"""DRIML: C51 and InfoNCE share one encoding of s_t, one batch and one optimizer; the right pairs; it resumes whole."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from toys import Call, goes_on_as_saved, jump_envs, same_run

from sb3_infomax import C51, DRIML
from sb3_infomax.common.extractors import LocalGlobalCNN
from sb3_infomax.registry import ALGORITHMS, resolve

SETTINGS = {"learning_starts": 20, "batch_size": 16, "buffer_size": 80, "train_freq": 4, "gradient_steps": 2, "seed": 3}
INFONCE = {"dim": 16}
CNN = {"features_extractor_class": LocalGlobalCNN, "features_extractor_kwargs": {"features_dim": 16}, "net_arch": []}
ALL_TERMS = {"lambda_ll": 1.0, "lambda_lg": 1.0, "lambda_gl": 1.0, "lambda_gg": 1.0}


def make(env=None, policy="MlpPolicy", algorithm=DRIML, **settings):
    if algorithm is DRIML:
        settings = {"infonce_kwargs": INFONCE} | settings
    own = CNN if policy == "CnnPolicy" else {"net_arch": [8]}
    settings = SETTINGS | {"device": "cpu", "policy_kwargs": own} | settings
    return algorithm(policy, jump_envs(2) if env is None else env, **settings)


def make_cnn(**settings):
    return make(jump_envs(2, kind="image"), "CnnPolicy", **settings)


def captured(model, n_steps=60, **learn):
    """The pairs that a model trains on, each with the batch that C51 trains on."""
    batches, pairs = [], []
    compute_loss, auxiliary_loss = model._compute_loss, model.auxiliary.loss
    model._compute_loss = lambda data: batches.append(data) or compute_loss(data)
    model.auxiliary.loss = lambda drawn, *rest: pairs.append(drawn) or auxiliary_loss(drawn, *rest)
    model.learn(n_steps, **learn)
    del model._compute_loss, model.auxiliary.loss
    return batches, pairs


def test_the_name_in_the_registry_is_the_public_class():
    assert resolve("driml", ALGORITHMS) is DRIML and issubclass(DRIML, C51)


CASES = {
    "vectors": {},
    "n-step, three environments": {"env": lambda: jump_envs(3), "n_steps": 3},
    "pictures": {"env": lambda: jump_envs(2, kind="image"), "policy": "CnnPolicy"},
    "Dict": {"env": lambda: jump_envs(2, kind="dict"), "policy": "MultiInputPolicy"},
    "double": {"double_q": True},
}


@pytest.mark.parametrize("case", CASES)
def test_with_coefficient_0_it_is_c51_bit_for_bit(case):
    """T10."""
    arguments = dict(CASES[case])
    env = arguments.pop("env", lambda: jump_envs(2))
    ours = make(env(), coef=0.0, **arguments).learn(100)
    plain = make(env(), algorithm=C51, **arguments).learn(100)
    assert ours._n_updates == plain._n_updates > 0
    weights = [model.policy.state_dict() for model in (ours, plain)]
    assert all(th.equal(weights[0][key], weights[1][key]) for key in weights[1])
    # the optimizer's moments too, and the generators
    moments = [model.policy.optimizer.state_dict()["state"] for model in (ours, plain)]
    assert moments[0].keys() == moments[1].keys()
    assert all(th.equal(moments[0][i]["exp_avg_sq"], moments[1][i]["exp_avg_sq"]) for i in moments[1])
    assert not same_run(ours, make(env(), coef=1.0, **arguments).learn(100))


def test_the_global_generators_are_left_to_c51():
    states = []
    for algorithm, own in ((C51, {}), (DRIML, {"horizon": "ada"})):
        make(algorithm=algorithm, **own).learn(60)
        states.append((th.get_rng_state(), np.random.get_state()[1]))
    assert th.equal(states[0][0], states[1][0])


def gradients(model, data):
    model.policy.optimizer.zero_grad()
    model._compute_loss(data).backward()
    return {name: parameter.grad for name, parameter in model.policy.named_parameters() if parameter.grad is not None}


def last_batch(model):
    """A batch, with the places that it came from."""
    batches, _ = captured(model)
    return batches[-1]


def test_the_gradient_reaches_encoder_heads_and_action_encoder_but_not_the_layer_of_c51():
    """T10: what the auxiliary loss adds to C51's own gradient."""
    model = make_cnn(**ALL_TERMS)
    data = last_batch(model)
    both = gradients(model, data)
    model.coef = lambda progress: 0.0
    alone = gradients(model, data)
    added = {name for name in both if name not in alone or not th.allclose(both[name], alone[name], atol=1e-9)}
    extractor = "q_net.features_extractor."
    assert {name for name in alone if name.startswith(extractor)} <= added
    heads = {f"auxiliary.{name}" for name, _ in model.auxiliary.named_parameters()}
    assert heads <= added and any("action_encoder" in name for name in heads)
    assert not any(name.startswith(("q_net.q_net", "q_net_target")) for name in added)
    assert all(th.equal(both[f"q_net.q_net.0.{name}"], alone[f"q_net.q_net.0.{name}"]) for name in ("weight", "bias"))


def test_the_auxiliary_loss_alone_has_no_gradient_on_the_layer_of_c51():
    """T10: exactly none there and on the target network, some on every other parameter."""
    model = make_cnn(horizon="ada", **ALL_TERMS)
    data = last_batch(model)
    model.policy.optimizer.zero_grad()
    model._auxiliary_loss(data, model.encoder(data.observations))[0].backward()
    for name, parameter in model.policy.named_parameters():
        if name.startswith(("q_net.q_net", "q_net_target")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and (parameter.grad != 0).any(), name


@pytest.mark.parametrize("make_model", [make, make_cnn])
def test_the_loss_is_the_sum_of_the_two_computed_apart(make_model):
    """C51's by its own route through the network, InfoNCE's with an encoding of its own."""
    model = make_model(coef=0.7)
    data = last_batch(model)
    rows, envs = model._sampled
    pairs = model.pairs.gather(model.pairs.look(model.pairs.numbers(rows, envs), model.auxiliary.horizon))
    own, _ = model.auxiliary.loss(pairs, model.encoder)
    expected = C51._compute_loss(model, data) + 0.7 * own
    assert model._compute_loss(data).item() == pytest.approx(expected.item(), rel=1e-5)


def test_terms_without_a_weight_have_no_heads():
    assert set(make_cnn().auxiliary.terms) == {"gg"}
    assert set(make_cnn(**ALL_TERMS).auxiliary.terms) == {"ll", "lg", "gl", "gg"}


def test_an_observation_is_encoded_once_for_both_losses():
    """Two passes with a gradient and the target's, of 16 pictures each."""
    model = make_cnn()
    data = last_batch(model)
    passes = []
    for name in ("q_net", "q_net_target"):
        convolution = getattr(model, name).features_extractor.convolutions[0]
        convolution.register_forward_hook(lambda module, inputs, output, name=name: passes.append((name, len(output))))
    model._compute_loss(data)
    assert sorted(passes) == [("q_net", 16), ("q_net", 16), ("q_net_target", 16)]


@pytest.mark.parametrize("horizon", ["fix", "randk", "ada"])
@pytest.mark.parametrize("variant", ["one step", "n-step", "memory-efficient", "one environment"])
def test_pairs_are_those_of_the_batch_k_steps_later(horizon, variant):
    """x grows by one in each step and episodes start far apart, so that x tells where an observation belongs."""
    settings = {
        "n-step": {"n_steps": 3},
        "memory-efficient": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    }.get(variant, {})
    model = make(jump_envs(1 if variant == "one environment" else 3), horizon=horizon, k=3, **settings)
    # learned from all through the first round of the ring buffer and the second
    batches, pairs = captured(model, 200)
    n_valid = ks = 0
    for data, drawn in zip(batches, pairs, strict=True):
        assert drawn.observations is data.observations and th.equal(drawn.actions, data.actions)
        x, later = data.observations[:, 0], drawn.later_observations[:, 0]
        assert th.equal(later[drawn.valid], (x + drawn.k)[drawn.valid])
        assert drawn.k.min() >= 1 and drawn.k.max() <= 3
        n_valid += int(drawn.valid.sum())
        ks |= sum(1 << k for k in set(drawn.k.tolist()))
    assert n_valid > 100 and ks == (0b1000 if horizon == "fix" else 0b1110)


def test_pairs_of_the_last_step_before_a_new_learn_are_known_to_be_cut():
    """Environments start anew there without the buffer knowing."""
    model = make(jump_envs(2), k=2, learning_starts=10**6).learn(20)
    model.learning_starts = 0
    _, pairs = captured(model, 20)
    for drawn in pairs:
        x, later = drawn.observations[:, 0], drawn.later_observations[:, 0]
        assert th.equal(later[drawn.valid], x[drawn.valid] + 2)


def test_observations_that_nobody_told_are_no_pairs():
    from toys import ForgetfulVecEnv

    model = make(jump_envs(2, cls=ForgetfulVecEnv))
    _, pairs = captured(model)
    later = th.cat([drawn.later_observations[drawn.valid, 0] for drawn in pairs])
    x = th.cat([drawn.observations[drawn.valid, 0] for drawn in pairs])
    assert th.equal(later, x + 1) and not all(drawn.valid.all() for drawn in pairs)


def test_negatives_of_the_same_trajectory_are_a_batch_of_their_own():
    model = make(infonce_kwargs=INFONCE | {"negatives": "trajectory", "n_trajectories": 2})
    batches, pairs = captured(model)
    assert all(drawn.trajectory is not None for drawn in pairs) and len(pairs) == len(batches)


def test_the_adaptive_horizon_does_not_collapse_while_driml_trains():
    """The released code's k falls to 1 within 20 updates; here it comes to what actions that are mostly repeated say."""
    settings = {"horizon": "ada", "batch_size": 128, "buffer_size": 2000, "learning_rate": 5e-3}
    model, stay = make(jump_envs(2, action_space=spaces.Discrete(5)), **settings).learn(8), 0.85
    buffer, random = model.replay_buffer, np.random.default_rng(0)
    buffer.full, buffer.dones[:] = True, 0.0
    for row in range(1, len(buffer.actions)):
        others = (buffer.actions[row - 1] + random.integers(1, 5, (2, 1))) % 5
        buffer.actions[row] = np.where(random.random((2, 1)) < stay, buffer.actions[row - 1], others)
    model.train(gradient_steps=150, batch_size=128)
    ks = []
    for _ in range(20):
        model.train(gradient_steps=1, batch_size=128)
        ks.append(model.logger.name_to_value["auxiliary/infonce_k_mean"])
    goes_on = stay**2 + (1 - stay) ** 2 / 4  # with the true p(a' | a)
    assert np.mean(ks) == pytest.approx((1 - goes_on) + sum(goes_on**j for j in range(1, 14)), rel=0.15)


def test_what_the_replay_buffer_is_lent_is_gone_after_training(tmp_path):
    model = make().learn(60)
    assert "_get_samples" not in vars(model.replay_buffer)
    model._compute_loss = lambda data: 1 / 0
    with pytest.raises(ZeroDivisionError):
        model.train(gradient_steps=1, batch_size=8)
    assert "_get_samples" not in vars(model.replay_buffer)
    model.save_replay_buffer(tmp_path / "replay")


@pytest.mark.parametrize("settings", [{"horizon": "ada"}, {"infonce_kwargs": INFONCE | {"ema": 0.05}}], ids=str)
def test_a_saved_run_resumes_whole(settings, tmp_path):
    """Heads, action encoder, horizon, momentum encoder, optimizer and generator: the next updates are the same."""
    states = goes_on_as_saved(make(**settings).learn(60), tmp_path, batch_size=16)
    assert any("auxiliary" in key for key in states)


INFLUENCE = {
    "horizon": "ada",
    "k": 3,
    "lambda_gg": 0.5,
    "actions": "none",
    "coef": 0.5,
    "batch_size": 8,
    "train_freq": 8,
    "infonce_kwargs": INFONCE | {"clip": 1.0},
    "learning_rate": 1e-2,
}


@pytest.mark.parametrize("knob", INFLUENCE)
def test_every_argument_changes_what_is_learned(knob):
    assert not same_run(make().learn(100), make(**{knob: INFLUENCE[knob]}).learn(100))


@pytest.mark.parametrize("term", ["lambda_ll", "lambda_lg", "lambda_gl"])
def test_every_term_changes_what_is_learned(term):
    assert not same_run(make_cnn().learn(60), make_cnn(**{term: 1.0}).learn(60))


def test_the_coefficient_may_follow_a_schedule():
    """Only the second half learns by InfoNCE: until then the run is C51's."""
    runs = []
    for own in ({"coef": lambda progress: float(progress < 0.5)}, {"algorithm": C51}):
        weights = []
        note = Call(rollout_end=lambda model, weights=weights: weights.append(model.q_net.q_net[0].weight.detach().clone()))
        make(**own).learn(120, callback=note)
        runs.append(weights)
    same = [th.equal(*pair) for pair in zip(*runs, strict=True)]
    assert all(same[: len(same) // 2]) and not same[-1]


def test_a_coefficient_that_is_not_finite_gets_one_sentence():
    with pytest.raises(ValueError, match="coefficient's schedule returned nan"):
        make(coef=lambda left: float("nan")).learn(60)


def test_a_loaded_run_takes_another_coefficient(tmp_path):
    make().learn(40).save(tmp_path / "model")
    model = DRIML.load(tmp_path / "model", env=jump_envs(2), coef=0.25)
    model.learn(40)
    assert model.coef(1.0) == 0.25


def test_defaults_are_the_released_codes():
    model = DRIML("CnnPolicy", jump_envs(1, kind="image"), buffer_size=10)
    assert (model.batch_size, model.train_freq.frequency, model.policy.optimizer.defaults["eps"]) == (256, 32, 0.01 / 256)
    assert model.auxiliary.weights == {"gg": 1.0} and model.auxiliary.terms["gg"].psi.output.out_features == 512
    weight = model.q_net.features_extractor.linear.weight  # orthogonal, of gain sqrt 2
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    assert th.allclose(gram, 2 * th.eye(len(gram)), atol=1e-4)


def test_every_group_of_the_optimizer_follows_the_learning_rate():
    model = make(learning_rate=lambda progress: 0.01 + 0.1 * progress).learn(64)
    rates = {group["lr"] for group in model.policy.optimizer.param_groups}
    assert len(rates) == 1 and rates.pop() < 0.1
    in_optimizer = sum(len(group["params"]) for group in model.policy.optimizer.param_groups)
    assert in_optimizer == len([*model.q_net.parameters(), *model.auxiliary.parameters()])


def test_logged_is_what_infonce_says():
    model = make(horizon="ada").learn(60)
    logged = model.logger.name_to_value
    names = {"loss", "gg", "mi", "accuracy", "valid", "k_mean", "logits", "action_mi", "concordance"}
    assert {f"auxiliary/infonce_{name}" for name in names} <= set(logged) and np.isfinite(logged["train/loss"])


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_ll": 1.0}, "lambda_ll needs local features"),
        ({"horizon": "far"}, "horizon must be"),
        ({"lambda_gg": "1"}, "lambda_gg must be a number, got '1'"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"infonce_kwargs": {"dimm": 16}}, "Unknown argument of InfoNCE 'dimm': did you mean dim"),
        ({"infonce_kwargs": {"dim": 1.5}}, "InfoNCE's dim must be a whole number"),
        ({"infonce_kwargs": {"dim": 0}}, "dim must be at least 1"),
        ({"k": 0}, "k must be a whole number of at least 1"),
        ({"coef": "much"}, "coef must be a finite number or a schedule"),
        ({"infonce_kwargs": {"k": 2}}, "Give k to the algorithm itself"),
        ({"infonce_kwargs": {"batch_size": 16}}, "Give batch_size to the algorithm itself"),
        ({"dueling": True}, "the two streams of dueling=True have no layer in common"),
        ({"policy_kwargs": {"net_arch": []}}, "no hidden layer"),
        ({"policy": C51.policy_aliases["MlpPolicy"]}, "needs a policy that derives from DRIMLPolicy, got C51Policy"),
    ],
)
def test_a_wrong_argument_gets_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        DRIML(**{"policy": "MlpPolicy", "env": jump_envs(1)} | arguments)
