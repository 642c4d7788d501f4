"""A recipe's weights: which may be missing, where they come from, and what the build says about it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from small_models import small_atm_spec, small_recipe, small_spec
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.reductions.cts_policy import PolicyNetwork

BOTH = ((2, 3), (3, 2))


@pytest.fixture(scope="module")
def policy() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return {f"policy_net.{key}": value for key, value in PolicyNetwork().state_dict().items()}


@pytest.fixture
def state() -> dict[str, Tensor]:
    """Weights of the small model, without a policy network."""
    model = SegVit(small_spec())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return dict(model.state_dict())


def saved(state: dict[str, Tensor], path: Path) -> Path:
    torch.save({"state_dict": state}, path)
    return path


def without(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(prefix)}


def assert_loaded(model: nn.Module, state: dict[str, Tensor]) -> None:
    for key, value in model.state_dict().items():
        if key in state:
            assert torch.equal(value, state[key]), key


def test_checkpoint_is_loaded_and_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(state, tmp_path / "epoch_9.pth")
    model, origin = model_from_recipe(small_recipe(prune=BOTH, checkpoint=path))
    assert not model.training
    assert_loaded(model, state)
    assert origin.as_dict() == {
        "origin": "checkpoint",
        "seed": None,
        "file": "epoch_9.pth",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "policy_file": None,
        "policy_sha256": None,
        "statement": "weights from epoch_9.pth",
    }
    assert str(tmp_path) not in json.dumps(origin.as_dict())


def test_random_weights_say_so() -> None:
    model, origin = model_from_recipe(small_recipe(seed=7))
    assert not model.training
    assert (origin.origin, origin.seed, origin.file, origin.sha256) == ("random", 7, None, None)
    assert "random weights, seed 7" in origin.statement
    again, _ = model_from_recipe(small_recipe(seed=7, prune=BOTH))
    assert_loaded(again, dict(model.state_dict()))


@pytest.mark.parametrize(("prune", "inactive"), [((), ""), (((2, 3), (3, 0)), "1."), (((3, 2),), "0.")])
def test_weights_of_an_inactive_auxiliary_head_may_be_missing(
    tmp_path: Path, state: dict[str, Tensor], prune: tuple, inactive: str
) -> None:
    bare = without(state, f"auxiliary_head.{inactive}")
    assert len(bare) < len(state)
    model, _ = model_from_recipe(small_recipe(prune=prune, checkpoint=saved(bare, tmp_path / "w.pth")))
    assert_loaded(model, bare)


@pytest.mark.parametrize("active", ["auxiliary_head.0.", "auxiliary_head.1."])
def test_weights_of_an_active_auxiliary_head_are_required(
    tmp_path: Path, state: dict[str, Tensor], active: str
) -> None:
    path = saved(without(state, active), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=f"missing: {active}") as caught:
        model_from_recipe(small_recipe(prune=BOTH, checkpoint=path))
    assert caught.value.exit_code == 2
    assert caught.value.where == str(path)


def test_dense_recipe_ignores_heads_that_the_model_does_not_have(tmp_path: Path, state: dict[str, Tensor]) -> None:
    extra = {**state, "auxiliary_head.2.q.weight": torch.rand(5, 24)}
    path = saved(extra, tmp_path / "w.pth")
    model_from_recipe(small_recipe(checkpoint=path))
    with pytest.raises(CheckpointError, match=r"unexpected: auxiliary_head\.2"):
        model_from_recipe(small_recipe(prune=BOTH, checkpoint=path))


def test_atm_model_ignores_auxiliary_heads_of_its_training(tmp_path: Path) -> None:
    model = SegVit(small_atm_spec())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    state = {**model.state_dict(), "auxiliary_head.0.conv_seg.weight": torch.rand(3)}
    loaded, _ = model_from_recipe(small_recipe(spec=small_atm_spec(), checkpoint=saved(state, tmp_path / "w.pth")))
    assert_loaded(loaded, state)


def test_policy_network_from_the_same_checkpoint(
    tmp_path: Path, state: dict[str, Tensor], policy: dict[str, Tensor]
) -> None:
    path = saved({**state, **policy}, tmp_path / "w.pth")
    model, origin = model_from_recipe(small_recipe(num_shared=2, checkpoint=path))
    assert_loaded(model, {**state, **policy})
    assert origin.policy_file is None


def test_policy_network_from_its_own_file(tmp_path: Path, state: dict[str, Tensor], policy: dict[str, Tensor]) -> None:
    published = {key.removeprefix("policy_net."): value for key, value in policy.items()}
    own = saved(published, tmp_path / "policy.pth")
    # The model's checkpoint may hold another one, as after joint training: the file that the recipe names counts.
    other = {key: torch.zeros_like(value) for key, value in policy.items()}
    path = saved({**state, **other}, tmp_path / "w.pth")
    model, origin = model_from_recipe(small_recipe(num_shared=2, checkpoint=path, policy_checkpoint=own))
    assert_loaded(model, {**state, **policy})
    assert origin.policy_file == "policy.pth"
    assert origin.policy_sha256 == hashlib.sha256(own.read_bytes()).hexdigest()


def test_policy_network_from_its_own_file_with_seeded_model(tmp_path: Path, policy: dict[str, Tensor]) -> None:
    own = saved(policy, tmp_path / "policy.pth")
    model, origin = model_from_recipe(small_recipe(num_shared=2, policy_checkpoint=own))
    assert_loaded(model, policy)
    assert (origin.origin, origin.policy_file) == ("random", "policy.pth")


def test_missing_policy_network_is_said(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"set reduction\.cts\.policy_checkpoint"):
        model_from_recipe(small_recipe(num_shared=2, checkpoint=path))


def test_recipe_without_sharing_needs_and_loads_no_policy_network(
    tmp_path: Path, state: dict[str, Tensor], policy: dict[str, Tensor]
) -> None:
    path = saved({**state, **policy}, tmp_path / "w.pth")
    model, origin = model_from_recipe(small_recipe(checkpoint=path, policy_checkpoint=tmp_path / "absent.pth"))
    assert not hasattr(model, "policy_net") and origin.policy_file is None


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        model_from_recipe(small_recipe(checkpoint=tmp_path / "absent.pth"))
