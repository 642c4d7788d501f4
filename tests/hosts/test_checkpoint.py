"""Checkpoints: every way in which a file or its keys can be wrong has a message of its own; nothing in it is executed."""

from __future__ import annotations

import argparse
import os
import pickle
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import small_spec
from torch import Tensor, nn

from edgeexport.errors import CheckpointError
from edgeexport.hosts.checkpoint import load_network_weights, load_weights
from edgeexport.hosts.checkpoint_file import checkpoint_from_file
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.reductions.cts_policy import PolicyNetwork


def refused(path: Path) -> str:
    """The one-line message with which a file is refused, exit code 2."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint_from_file(path)
    return message_of(caught.value)


def unfit(model: nn.Module, state: dict[str, Tensor], **options: tuple[str, ...]) -> str:
    """The one-line message with which weights are refused, exit code 2; the model keeps its own."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, state, "w.pth", **options)
    for key, value in model.state_dict().items():  # a model that nobody drew weights for may hold NaN
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True)
    return message_of(caught.value)


def message_of(error: CheckpointError) -> str:
    assert error.exit_code == 2
    assert error.where and error.problem and error.remedy
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.rand(40, 30, generator=generator), "a.bias": torch.rand(40, generator=generator)}


def assert_equal_weights(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# --- Reading files ---


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_pth_reads_wrapped_or_bare(
    tmp_path: Path, weights: dict[str, Tensor], wrapper: str | None, zipped: bool
) -> None:
    content = weights if wrapper is None else {wrapper: weights, "meta": {"epoch": 3, "classes": ("wall", "sky")}}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert_equal_weights(checkpoint_from_file(tmp_path / "w.pth").state, weights)


def test_safetensors_reads(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    assert_equal_weights(checkpoint_from_file(tmp_path / "w.safetensors").state, weights)


def test_what_mmengine_saves_of_the_training_is_skipped(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """A checkpoint as `mmengine.Runner.save_checkpoint` writes it: histories of the losses, numpy scalars, optimizer."""
    logging = pytest.importorskip("mmengine.logging")
    np = pytest.importorskip("numpy")
    hub = logging.MessageHub("edgeexport-test")
    hub.update_scalar("train/loss", 0.5)
    hub.update_scalar("train/loss", np.float64(0.25))
    hub.update_info("epoch", 1)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.rand(2))])
    content = {
        "meta": {"epoch": 1, "seed": np.int64(7), "cfg": "model = dict()", "dataset_meta": {"palette": [[1, 2, 3]]}},
        "state_dict": weights,
        "message_hub": hub.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content, tmp_path / "epoch_1.pth")
    with pytest.raises(pickle.UnpicklingError):  # or else this test shows nothing
        torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    assert_equal_weights(checkpoint_from_file(tmp_path / "epoch_1.pth").state, weights)
    with pytest.raises(pickle.UnpicklingError):  # nothing was allowed beyond that one call
        torch.load(tmp_path / "epoch_1.pth", weights_only=True)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_arguments_of_timms_and_deits_training_scripts_are_skipped(
    wrapper: str, tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    content = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, model="deit"),
        wrapper: weights,
        f"{wrapper}_ema": weights,
    }
    torch.save(content, tmp_path / "checkpoint.pth.tar")
    with pytest.raises(pickle.UnpicklingError):  # or else this test shows nothing
        torch.load(tmp_path / "checkpoint.pth.tar", weights_only=True)
    assert_equal_weights(checkpoint_from_file(tmp_path / "checkpoint.pth.tar").state, weights)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    message = refused(tmp_path / name)
    assert message.startswith(str(tmp_path / name))
    assert "no such checkpoint file" in message


def test_folder_is_no_file(tmp_path: Path) -> None:
    assert "no such checkpoint file" in refused(tmp_path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_pth(tmp_path: Path, weights: dict[str, Tensor], share: float, zipped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = refused(path)
    assert ("is empty" if share == 0 else "damaged") in message
    assert "execute code" not in message


@pytest.mark.parametrize("size", [0, 4, 50, -1])
def test_truncated_safetensors(tmp_path: Path, weights: dict[str, Tensor], size: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:size])
    assert "damaged safetensors file" in refused(path)


def test_corrupt_safetensors_header(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff\xfe" + content[22:])
    assert "damaged safetensors file" in refused(path)


@pytest.mark.parametrize(
    "content",
    [b"# my notes\nnot weights\n" * 9, b"version https://git-lfs.github.com/spec/v1\n"],
    ids=["text", "git-lfs pointer"],
)
def test_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    message = refused(path)
    assert f"begins with {content[:8]!r}, which is no checkpoint" in message
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert "damaged safetensors file" in refused(path)


def test_safetensors_named_pth_is_not_said_to_execute_code(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "no checkpoint of torch.save" in message and "execute code" not in message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x93NUMPY\x01\x00" * 50, "a single numpy array"),
        (b"\x89HDF\r\n\x1a\n" * 9, "an HDF5 file, as Keras writes it"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert f"is {what}, which is no checkpoint of torch.save" in refused(tmp_path / "w.pth")


def test_programs_and_archives_are_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "w.pth"))
    assert "is a TorchScript archive" in refused(tmp_path / "w.pth")
    with (tmp_path / "a.pth").open("wb") as stream:
        np.savez(stream, a=np.zeros(3))
    assert "is a numpy archive | rename it to .npz" in refused(tmp_path / "a.pth")


def test_pickle_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"a": [1.0, 2.0]}))
    message = refused(path)
    assert "not a checkpoint of torch.save" in message and "execute code" not in message


def test_zip_of_something_else(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("notes.txt", "hello")
    assert "not a checkpoint of torch.save" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list, expected a state dict"),
        (torch.rand(3), "holds a Tensor, expected a state dict"),
        ({}, "holds an empty dict, expected a state dict"),
        ({"state_dict": {}}, "holds an empty dict, expected a state dict"),
        ({"epoch": 3, "lr": 0.1}, "holds no tensors (keys: epoch, lr)"),
    ],
)
def test_other_content(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert words in refused(tmp_path / "w.pth")


class _Malicious:
    """Runs a shell command when it is unpickled, as an attacker's checkpoint would."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


class _MaliciousEval(_Malicious):
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('os').system({self.command!r})",)


class _MaliciousAttribute(_Malicious):
    """Reaches for the function through getattr, which the training state of mmengine uses too."""

    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, (_Malicious(self.command), "command")


@pytest.mark.parametrize("kind", [_Malicious, _MaliciousEval, _MaliciousAttribute])
@pytest.mark.parametrize("form", ["zip", "before torch 1.6", "bare pickle"])
def test_pickle_that_would_execute_code_is_refused_and_not_executed(
    tmp_path: Path, weights: dict[str, Tensor], kind: type[_Malicious], form: str
) -> None:
    marker, path = tmp_path / "executed", tmp_path / "w.pth"
    content = {"state_dict": weights, "extra": kind(f"touch {marker}")}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    message = refused(path)
    assert not marker.exists()
    if form != "bare pickle":  # torch reads its own header first, and finds none
        assert "would execute code, which edgeexport never allows" in message
        assert "use .safetensors" in message
    pickle.loads(pickle.dumps(_Malicious(f"touch {marker}")))
    assert marker.exists(), "the pickle of this test does nothing"


def test_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    assert "torch.nn.modules.linear.Linear" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_damaged_bytes_give_our_error_or_nothing(tmp_path: Path, weights: dict[str, Tensor], zipped: bool) -> None:
    """Any byte may be wrong: the reader answers with tensors or with a CheckpointError, never with a traceback."""
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"b": torch.rand(3)}, "meta": {"epoch": 1}}, path, _use_new_zipfile_serialization=zipped)
    content, rng, errors = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            checkpoint_from_file(path)
        except CheckpointError as error:
            assert message_of(error)
            errors += 1
    assert errors > 20


# --- Fitting keys to a model ---


def two_layers() -> nn.Module:
    model = nn.Sequential()
    for name in ("first", "second", "third"):
        model.add_module(name, nn.Linear(3, 3))
    return model


def test_weights_arrive_as_float32() -> None:
    state = {key: torch.rand_like(value).to(torch.float16) for key, value in two_layers().state_dict().items()}
    model = two_layers()
    load_weights(model, state, "w.pth")
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].float())


def test_module_prefix_and_training_leftovers() -> None:
    state = {f"module.{key}": torch.rand_like(value) for key, value in two_layers().state_dict().items()}
    leftovers = {"module.loss_decode.weight": torch.rand(2), "decode_head.loss_decode.criterion.x": torch.rand(1)}
    model = two_layers()
    load_weights(model, {**state, **leftovers}, "w.pth")
    assert torch.equal(model.second.bias, state["module.second.bias"])


def test_batch_counters_may_be_absent_or_present() -> None:
    source, model = nn.Sequential(nn.BatchNorm2d(2)), nn.Sequential(nn.BatchNorm2d(2))
    state = {key: torch.ones_like(value) * 3 for key, value in source.state_dict().items()}
    load_weights(model, state, "w.pth")
    assert model[0].running_var.tolist() == [3.0, 3.0]
    del state["0.num_batches_tracked"]
    load_weights(model, state, "w.pth")


def test_missing_keys_are_counted_and_the_first_few_listed() -> None:
    message = unfit(two_layers(), {"first.weight": torch.rand(3, 3)})
    assert message.startswith("w.pth | keys do not fit the model; 5 missing: ")
    assert "5 missing: first.bias, second.weight, second.bias, third.weight, ..." in message
    assert "third.bias" not in message
    assert "likely cause: the model in the recipe is not the one that was trained" in message


def test_every_kind_of_misfit_in_one_message() -> None:
    state = {key: torch.rand_like(value) for key, value in two_layers().state_dict().items()}
    del state["first.bias"]
    state["extra.weight"] = torch.rand(1)
    state["third.weight"] = torch.rand(3, 7)
    message = unfit(two_layers(), state)
    assert "1 missing: first.bias; 1 unexpected: extra.weight; " in message
    assert "1 of another shape: third.weight (3, 7) against (3, 3)" in message
    assert "likely cause: another model size or number of classes" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(value: float) -> None:
    state = {key: torch.rand_like(tensor) for key, tensor in two_layers().state_dict().items()}
    state["second.weight"][1, 2] = value
    message = unfit(two_layers(), state)
    assert "NaN or infinite values in 1 weights: second.weight" in message


def test_not_finite_leftovers_do_not_matter() -> None:
    state = {key: torch.rand_like(tensor) for key, tensor in two_layers().state_dict().items()}
    load_weights(two_layers(), {**state, "x.loss_decode.w": torch.tensor(float("nan"))}, "w.pth")


def test_optional_prefixes_may_be_missing_or_have_no_place() -> None:
    state = {key: torch.rand_like(value) for key, value in two_layers().state_dict().items()}
    for key in ("third.weight", "third.bias"):
        del state[key]
    state["policy_net.head.weight"] = torch.rand(2)
    assert "third.weight" in unfit(two_layers(), state)
    load_weights(two_layers(), state, "w.pth", optional=("third.", "policy_net."))


# --- Likely causes, on the real model ---


@pytest.fixture(scope="module")
def segvit() -> SegVit:
    model = SegVit(small_spec())
    model.add_module("policy_net", PolicyNetwork())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


@pytest.fixture
def state(segvit: SegVit) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in segvit.state_dict().items()}


def test_own_weights_fit(segvit: SegVit, state: dict[str, Tensor]) -> None:
    load_weights(segvit, state, "w.pth")


def test_missing_policy_network_hints_at_policy_checkpoint(segvit: SegVit, state: dict[str, Tensor]) -> None:
    bare = {key: value for key, value in state.items() if not key.startswith("policy_net.")}
    message = unfit(segvit, bare)
    assert "missing: policy_net." in message
    assert "set reduction.cts.policy_checkpoint" in message


def test_missing_auxiliary_heads_hint_at_dtop(segvit: SegVit, state: dict[str, Tensor]) -> None:
    bare = {key: value for key, value in state.items() if not key.startswith("auxiliary_head.")}
    assert "trained without DToP's auxiliary heads" in unfit(segvit, bare)


def test_another_training_size_hints_at_img_size(segvit: SegVit, state: dict[str, Tensor]) -> None:
    state["backbone.pos_embed"] = torch.rand(1, 10, 32)
    message = unfit(segvit, state)
    assert "backbone.pos_embed (1, 10, 32) against (1, 17, 32)" in message
    assert "set model.backbone.img_size" in message


def test_another_class_count_hints_at_it(segvit: SegVit, state: dict[str, Tensor]) -> None:
    state["decode_head.q.weight"] = torch.rand(9, 24)
    assert "another model size or number of classes" in unfit(segvit, state)


def test_patch_bias_of_another_mmseg_version_hints_at_it(segvit: SegVit, state: dict[str, Tensor]) -> None:
    bias = state.pop("backbone.patch_embed.projection.bias")
    assert "set model.backbone.patch_bias=False" in unfit(segvit, state)
    without = SegVit(replace(segvit.spec, backbone=replace(segvit.spec.backbone, patch_bias=False)))
    wanted = without.state_dict()
    given = {key: torch.zeros_like(value) for key, value in wanted.items()}
    assert "set model.backbone.patch_bias=True" in unfit(
        without, {**given, "backbone.patch_embed.projection.bias": bias}
    )


def test_timm_checkpoint_is_named(segvit: SegVit) -> None:
    message = unfit(segvit, {"blocks.0.attn.qkv.weight": torch.rand(3), "patch_embed.proj.weight": torch.rand(3)})
    assert "a timm checkpoint" in message


# --- The policy network's own file ---


def test_policy_checkpoint_with_published_keys(tmp_path: Path) -> None:
    policy = PolicyNetwork()
    source = {key: torch.full_like(value, 2) for key, value in policy.state_dict().items()}
    assert {"backbone.conv_stem.weight", "head.weight", "head.bias"} <= source.keys()
    for prefix, value in (("", 2.0), ("policy_net.", 3.0)):
        published = {prefix + key: torch.full_like(tensor, value) for key, tensor in source.items()}
        torch.save(published, tmp_path / "policy.pth")
        load_network_weights(policy, tmp_path / "policy.pth", "policy_net.")
        for key, tensor in policy.state_dict().items():
            assert key.endswith("num_batches_tracked") or (tensor == value).all(), key


def test_policy_checkpoint_of_something_else(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "policy.pth")
    with pytest.raises(CheckpointError) as caught:
        load_network_weights(PolicyNetwork(), tmp_path / "policy.pth", "policy_net.")
    message = message_of(caught.value)
    assert message.startswith(str(tmp_path / "policy.pth"))
    assert "2 unexpected: a.weight, a.bias" in message
