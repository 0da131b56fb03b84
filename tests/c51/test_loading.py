"""What a saved C51 or DRIML may be loaded into."""

import pytest
from toys import OFF_POLICY, jump_envs

from sb3_infomax import C51, DRIML

OWN = {C51: {}, DRIML: {"k": 2, "infonce_kwargs": {"dim": 16}}}


@pytest.fixture(params=OWN, ids=lambda cls: cls.__name__)
def algorithm(request):
    return request.param


def make(algorithm, **settings):
    return algorithm(
        "MlpPolicy", jump_envs(2), **{**OFF_POLICY, **OWN[algorithm], "policy_kwargs": {"net_arch": [8]}, **settings}
    )


def test_a_support_given_on_loading_must_be_the_saved_one(algorithm, tmp_path):
    make(algorithm, n_atoms=11).save(tmp_path / "model")
    with pytest.raises(ValueError, match="policy kwargs"):
        algorithm.load(tmp_path / "model", policy_kwargs={"net_arch": [8], "n_atoms": 21})


def test_parameters_of_another_support_are_refused(algorithm):
    model, other = make(algorithm, v_max=3.0), make(algorithm, v_max=5.0)
    with pytest.raises(ValueError, match=r"v_min=-10 to v_max=3, .* create the model with v_min=-10, v_max=3"):
        other.set_parameters(model.get_parameters())
    make(algorithm, v_max=3.0).set_parameters(model.get_parameters())


def test_what_the_networks_are_made_of_cannot_be_given_on_loading(algorithm, tmp_path):
    make(algorithm).save(tmp_path / "model")
    for late in (
        {"v_max": 50.0},
        {"dueling": True},
        *([{"k": 3}, {"infonce_kwargs": {"dim": 9}}] if algorithm is DRIML else []),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(late))} cannot be changed on loading"):
            algorithm.load(tmp_path / "model", device="cpu", **late)


def test_what_the_networks_are_made_of_may_be_repeated_on_loading(algorithm, tmp_path):
    """The RL Zoo hands all hyperparameters on when it continues a run."""
    own = {**OWN[algorithm], "v_max": 50.0}
    make(algorithm, **own).save(tmp_path / "model")
    assert algorithm.load(tmp_path / "model", device="cpu", **own).q_net.v_max == 50.0
