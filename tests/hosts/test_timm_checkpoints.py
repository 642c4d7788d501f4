"""Weights of plain ViTs as people have them: others' key names, wrappers, averaged sets, arrays of JAX, another image size."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hugging_face_facts import FACTS, drawn, image
from safetensors.torch import save_file
from timm.layers import LayerNorm, SwiGLUPacked, resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from edgeexport.bundle.weights_hash import weights_sha256
from edgeexport.config.place import Place
from edgeexport.errors import CheckpointError
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.checkpoint import load_weights
from edgeexport.hosts.checkpoint_file import Checkpoint, checkpoint_from_file
from edgeexport.hosts.timm_vit.checkpoint import timm_weights
from edgeexport.hosts.timm_vit.config import timm_from_config
from edgeexport.hosts.timm_vit.spec import TimmVitSpec
from edgeexport.recipe.validation import recipe_from_config

SMALL = dict(img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2)
EVA = dict(
    **SMALL,
    init_values=1e-5,
    rope_type="dinov3",
    rope_temperature=100,
    rope_rotate_half=True,
    use_rot_pos_emb=True,
    use_abs_pos_emb=False,
    num_reg_tokens=4,
    use_fc_norm=False,
    global_pool="token",
    norm_layer=partial(LayerNorm, eps=1e-5),
)
CLIP = dict(**SMALL, pre_norm=True, act_layer="quick_gelu", norm_layer=partial(LayerNorm, eps=1e-5))
SPEC = timm_from_config({"type": "timm", **SMALL}, Place("x.py", "model"))


def own_model(name: str) -> nn.Module:
    """timm's model of what a fact is of."""
    models = {
        "vit": lambda: VisionTransformer(**SMALL, num_classes=10),
        "deit": lambda: VisionTransformerDistilled(**SMALL, num_classes=10),
        "dinov2": lambda: VisionTransformer(**SMALL, num_classes=0, init_values=1e-5),
        "dinov2 giant": lambda: VisionTransformer(
            **{**SMALL, "mlp_ratio": 3}, num_classes=0, init_values=1e-5, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU
        ),
        "dinov2 registers": lambda: VisionTransformer(
            **SMALL, num_classes=0, init_values=1e-5, reg_tokens=4, no_embed_class=True
        ),
        "dinov3": lambda: Eva(**EVA, num_classes=0),
        "dinov3 huge": lambda: Eva(**EVA, num_classes=0, swiglu_mlp=True, swiglu_align_to=8),
        "siglip": lambda: VisionTransformer(
            **SMALL, num_classes=0, class_token=False, global_pool="map", act_layer="gelu_tanh"
        ),
        "clip": lambda: VisionTransformer(**CLIP, num_classes=0),
        "clip projection": lambda: VisionTransformer(**CLIP, num_classes=16),
    }
    return models[name]().eval()


FACTS_BY_NAME = json.loads(FACTS.read_text())


@pytest.mark.parametrize("name", list(FACTS_BY_NAME))
def test_a_folder_of_hugging_face_gives_what_transformers_computes(name: str, tmp_path: Path) -> None:
    fact = FACTS_BY_NAME[name]
    save_file({key: drawn(key, shape) for key, shape in fact["shapes"].items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(fact["config"]))
    model, checkpoint = own_model(name), checkpoint_from_file(tmp_path / "model.safetensors")
    state, done = timm_weights(model, SPEC, checkpoint, "w")
    assert done == "key names of Hugging Face transformers"
    load_weights(model, state, "w")
    with torch.no_grad():
        found = model(image())
    expected = torch.tensor(fact["values"])
    torch.testing.assert_close(found[:, : expected.shape[1]], expected, atol=2e-5, rtol=1e-4)


def test_a_model_of_images_and_texts_gives_its_image_encoder() -> None:
    fact = FACTS_BY_NAME["siglip"]
    state = {f"vision_model.{key}": drawn(key, shape) for key, shape in fact["shapes"].items()}
    texts = {"text_model.embeddings.token_embedding.weight": torch.zeros(9, 32), "logit_scale": torch.zeros(1)}
    config = {
        "model_type": "siglip",
        "vision_config": {"model_type": "siglip_vision_model"},
    }  # as Google's files state it
    model = own_model("siglip")
    load_weights(model, timm_weights(model, SPEC, Checkpoint(state | texts, "", config), "w")[0], "w")
    with torch.no_grad():
        found = model(image())
    torch.testing.assert_close(found[:, :12], torch.tensor(fact["values"]), atol=2e-5, rtol=1e-4)
    with pytest.raises(CheckpointError, match="hidden_act 'gelu_pytorch_tanh', and the model computes gelu"):
        timm_weights(own_model("vit"), SPEC, Checkpoint(state, "", config), "w")


def recipe_of(tmp_path: Path, checkpoint: str, **model: object):
    config = {
        "model": {"type": "timm", **SMALL, "num_classes": 10, **model},
        "input": {"shape": (1, 3, 64, 64)},
        "checkpoint": checkpoint,
    }
    return recipe_from_config(config, tmp_path / "x.py")


def weights(**changes: object) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return VisionTransformer(**{**SMALL, "num_classes": 10, **changes}).state_dict()


def test_a_folder_is_taken_for_its_weights_and_named_by_its_file(tmp_path: Path) -> None:
    fact = FACTS_BY_NAME["vit"]
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file({key: drawn(key, shape) for key, shape in fact["shapes"].items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(fact["config"]))
    model, origin = model_from_recipe(recipe_of(tmp_path, "vit"))
    assert origin.statement == "weights from model.safetensors: key names of Hugging Face transformers"
    with torch.no_grad():
        torch.testing.assert_close(model(image()), torch.tensor(fact["values"]), atol=2e-5, rtol=1e-4)


def folder_of_shards(folder: Path, suffix: str = ".safetensors") -> Path:
    """ViT's weights in three files with an index, and config.json."""
    fact = FACTS_BY_NAME["vit"]
    folder.mkdir()
    state = {key: drawn(key, shape) for key, shape in fact["shapes"].items()}
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = {key: f"{stem}-0000{place % 3 + 1}-of-00003{suffix}" for place, key in enumerate(state)}
    for name in {*names.values()}:
        held = {key: state[key] for key in state if names[key] == name}
        (save_file if suffix == ".safetensors" else torch.save)(held, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(fact["config"]))
    return folder / f"{stem}{suffix}.index.json"


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_in_several_files_give_what_transformers_computes(suffix: str, tmp_path: Path) -> None:
    index = folder_of_shards(tmp_path / "vit", suffix)
    model, origin = model_from_recipe(recipe_of(tmp_path, "vit"))
    said = f"weights from {index.name}: 3 files together; key names of Hugging Face transformers"
    assert origin.statement == said
    with torch.no_grad():
        torch.testing.assert_close(model(image()), torch.tensor(FACTS_BY_NAME["vit"]["values"]), atol=2e-5, rtol=1e-4)
    assert model_from_recipe(recipe_of(tmp_path, f"vit/{index.name}"))[1].sha256 == origin.sha256
    first = next(iter(sorted(index.parent.glob(f"*-of-*{suffix}"))))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(bytes(content))  # a bundle would not be told from one of the other weights by the index alone
    assert weights_sha256(index) != origin.sha256


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda names: {**names, "x": "../vit/other.safetensors"}, "names '../vit/other.safetensors', expected files"),
        (lambda names: {**names, "x": "missing.safetensors"}, "names missing.safetensors, which is not beside it"),
        (lambda names: {**names, "x": next(iter(names.values()))}, "lacks x, which model.safetensors.index.json says"),
        (lambda names: {}, "names no file of weights"),
        (lambda names: [*names], "weight_map | expected"),
    ],
)
def test_indexes_that_do_not_fit_their_files(change: Callable[..., object], words: str, tmp_path: Path) -> None:
    index = folder_of_shards(tmp_path / "vit")
    names = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": change(names)}))
    with pytest.raises(CheckpointError) as caught:
        checkpoint_from_file(index)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("config.json",), "is a folder without model.safetensors or pytorch_model.bin"),
        (("other.safetensors.index.json",), "is a folder without model.safetensors or pytorch_model.bin"),
    ],
)
def test_folders_without_a_file_of_weights(files: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    for name in files:
        (tmp_path / "vit" / name).write_text("{}")
    with pytest.raises(CheckpointError, match="vit") as caught:
        recipe_of(tmp_path, "vit")
    assert words in str(caught.value)


def test_another_activation_than_that_of_the_config_is_refused(tmp_path: Path) -> None:
    fact = FACTS_BY_NAME["vit"]
    checkpoint = Checkpoint(
        {key: drawn(key, shape) for key, shape in fact["shapes"].items()}, "", {"hidden_act": "quick_gelu"}
    )
    with pytest.raises(CheckpointError, match="hidden_act 'quick_gelu', and the model computes gelu") as caught:
        timm_weights(own_model("vit"), SPEC, checkpoint, "w")
    assert "set model.act_layer='quick_gelu'" in caught.value.remedy


@pytest.mark.parametrize("content", ["[]", '{"hidden_act": 3}', "{"])
def test_a_damaged_config_is_an_error_of_its_file(content: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        checkpoint_from_file(tmp_path / "model.safetensors")


# --- Meta's files ---


def test_metas_dinov2_with_registers_and_gated_mlp() -> None:
    """w12, w3, register_tokens and mask_token; the class token's position is added to it."""
    model = VisionTransformer(
        **{**SMALL, "mlp_ratio": 3},
        num_classes=0,
        init_values=1e-5,
        reg_tokens=4,
        no_embed_class=True,
        mlp_layer=SwiGLUPacked,
        act_layer=nn.SiLU,
    )
    plain = model.state_dict()
    position = torch.randn(1, 1, 32)
    theirs = {key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): value for key, value in plain.items()}
    theirs["register_tokens"] = theirs.pop("reg_token")
    theirs["cls_token"] = theirs["cls_token"] - position
    theirs["pos_embed"] = torch.cat([position, theirs["pos_embed"]], dim=1)
    theirs["mask_token"] = torch.zeros(1, 32)
    for prefix in ("", "teacher.backbone.", "module."):
        state, _ = timm_weights(model, SPEC, Checkpoint({prefix + key: value for key, value in theirs.items()}), "w")
        assert state.keys() == plain.keys()
        for key, value in plain.items():
            torch.testing.assert_close(state[key], value, msg=key)


def metas_dinov3(model: nn.Module, bias: float) -> dict[str, Tensor]:
    theirs = {
        key.replace("gamma_1", "ls1.gamma")
        .replace("gamma_2", "ls2.gamma")
        .replace("reg_token", "storage_tokens"): value
        for key, value in model.state_dict().items()
        if "_bias" not in key
    }
    return theirs | {
        "mask_token": torch.zeros(1, 32),
        "rope_embed.periods": torch.zeros(4),
        **{f"blocks.{number}.attn.qkv.bias": torch.full((96,), bias) for number in range(2)},
        **{f"blocks.{number}.attn.qkv.bias_mask": torch.ones(96) for number in range(2)},
    }


def test_metas_dinov3_gives_its_biases_to_queries_and_values() -> None:
    model = Eva(**EVA, num_classes=0)
    state, _ = timm_weights(model, SPEC, Checkpoint(metas_dinov3(model, 0.5)), "w")
    load_weights(model, state, "w")
    assert model.blocks[1].attn.q_bias.unique().tolist() == [0.5]
    assert model.blocks[1].attn.v_bias.unique().tolist() == [0.5]


def test_biases_of_dinov3_are_not_dropped_unless_they_are_zero(capsys: pytest.CaptureFixture[str]) -> None:
    model = Eva(**EVA, num_classes=0, qkv_bias=False)
    state, _ = timm_weights(model, SPEC, Checkpoint(metas_dinov3(model, 0.0)), "w")
    load_weights(model, state, "w")
    with pytest.raises(CheckpointError, match="its queries and values have biases") as caught:
        timm_weights(model, SPEC, Checkpoint(metas_dinov3(model, 0.5)), "w")
    assert "_qkvb" in caught.value.remedy
    assert capsys.readouterr().out == ""


def test_openais_clip_is_converted_and_its_text_left_out() -> None:
    model = VisionTransformer(**CLIP, num_classes=16)
    plain = {key: drawn(key, list(value.shape)) for key, value in model.state_dict().items()}
    names = {
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "blocks": "transformer.resblocks",
    }
    theirs: dict[str, Tensor] = {"logit_scale": torch.ones(()), "transformer.resblocks.0.ln_1.weight": torch.ones(8)}
    for key, value in plain.items():
        if key.startswith("head"):
            continue
        for ours, name in names.items():
            key = key.replace(ours, name)
        theirs["visual." + ("ln_post" + key.removeprefix("norm") if key.startswith("norm.") else key)] = value
    theirs["visual.class_embedding"] = theirs.pop("visual.cls_token")[0, 0]
    theirs["visual.positional_embedding"] = theirs.pop("visual.pos_embed")[0]
    theirs["visual.proj"] = plain["head.weight"].T
    state, _ = timm_weights(model, SPEC, Checkpoint(theirs), "w")
    assert state.keys() == plain.keys()
    for key, value in plain.items():
        expected = torch.zeros_like(value) if key == "head.bias" else value
        torch.testing.assert_close(state[key], expected, msg=key)


# --- Arrays of JAX ---


def jax_arrays(state: dict[str, Tensor], root: str) -> dict[str, np.ndarray]:
    """The original ViT's arrays, written down from its published names; heads of 16."""
    get = {key: value.numpy() for key, value in state.items()}
    found = {
        "cls": get["cls_token"],
        "embedding/kernel": get["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": get["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": get["pos_embed"],
        "Transformer/encoder_norm/scale": get["norm.weight"],
        "Transformer/encoder_norm/bias": get["norm.bias"],
        "head/kernel": get["head.weight"].T,
        "head/bias": get["head.bias"],
    }
    for number in range(2):
        ours, theirs = f"blocks.{number}.", f"Transformer/encoderblock_{number}/"
        for jax, name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            found |= {
                f"{theirs}{jax}/scale": get[f"{ours}{name}.weight"],
                f"{theirs}{jax}/bias": get[f"{ours}{name}.bias"],
            }
        for jax, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            found[f"{theirs}MlpBlock_3/{jax}/kernel"] = get[f"{ours}mlp.{name}.weight"].T
            found[f"{theirs}MlpBlock_3/{jax}/bias"] = get[f"{ours}mlp.{name}.bias"]
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for row, part in enumerate(("query", "key", "value")):
            rows = slice(32 * row, 32 * row + 32)
            found[f"{attention}{part}/kernel"] = get[f"{ours}attn.qkv.weight"][rows].T.reshape(32, 2, 16)
            found[f"{attention}{part}/bias"] = get[f"{ours}attn.qkv.bias"][rows].reshape(2, 16)
        found[f"{attention}out/kernel"] = get[f"{ours}attn.proj.weight"].T.reshape(2, 16, 32)
        found[f"{attention}out/bias"] = get[f"{ours}attn.proj.bias"]
    return {root + key: value for key, value in found.items()}


@pytest.mark.parametrize("root", ["", "opt/target/"])
def test_arrays_of_the_original_vit_load_as_timm_loads_them(root: str, tmp_path: Path) -> None:
    state = {key: drawn(key, list(value.shape)) for key, value in weights().items()}
    np.savez(tmp_path / "vit.npz", **jax_arrays(state, root))
    model, origin = model_from_recipe(recipe_of(tmp_path, "vit.npz"))
    assert origin.statement == "weights from vit.npz: arrays of the original ViT"
    reference = VisionTransformer(**SMALL, num_classes=10).eval()
    reference.load_pretrained(str(tmp_path / "vit.npz"))
    with torch.no_grad():
        torch.testing.assert_close(model(image()), reference(image()), atol=1e-6, rtol=1e-5)


def test_arrays_of_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"cls": np.zeros((1, 1, 32)), "embedding/kernel": np.zeros((16, 16, 3, 32))})
    with pytest.raises(CheckpointError, match="arrays of the original ViT") as caught:
        model_from_recipe(recipe_of(tmp_path, "w.npz"))
    assert "missing: pos_embed" in str(caught.value)
    np.savez(tmp_path / "o.npz", a=np.array([{}]))
    with pytest.raises(CheckpointError, match="damaged, or not a numpy archive"):
        checkpoint_from_file(tmp_path / "o.npz")
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(1 << 22))
    with pytest.raises(CheckpointError, match="unpacks to"):
        checkpoint_from_file(tmp_path / "bomb.npz")


# --- Another image size ---


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_positions_are_resampled_as_timm_does(antialias: bool, size: tuple[int, int], tmp_path: Path) -> None:
    state = weights(img_size=96)
    torch.save(state, tmp_path / "trained96.pth")
    recipe = recipe_of(tmp_path, "trained96.pth", img_size=(64, 64), antialias=antialias)
    if size != (64, 64):
        config = {"model": {"type": "timm", **SMALL, "num_classes": 10, "img_size": size, "antialias": antialias}}
        config |= {"input": {"shape": (1, 3, *size)}, "checkpoint": "trained96.pth"}
        recipe = recipe_from_config(config, tmp_path / "x.py")
    model, origin = model_from_recipe(recipe)
    grid = [side // 16 for side in size]
    expected = resample_abs_pos_embed(state["pos_embed"], grid, num_prefix_tokens=1, antialias=antialias)
    torch.testing.assert_close(model.pos_embed.data, expected)
    assert f"position embedding resampled from 6x6 to {grid[0]}x{grid[1]} patches, bicubic" in origin.statement
    assert ("antialiased" in origin.statement) == antialias


def test_at_the_size_of_training_nothing_is_resampled(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "w.pth")
    model, origin = model_from_recipe(recipe_of(tmp_path, "w.pth"))
    assert origin.statement == "weights from w.pth"
    assert torch.equal(model.pos_embed.data, weights()["pos_embed"])


def test_patches_of_another_size_are_never_resampled(tmp_path: Path) -> None:
    torch.save(weights(patch_size=8, img_size=32), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="patch_size 8, the model 16"):
        model_from_recipe(recipe_of(tmp_path, "w.pth"))


# --- Wrappers and sets ---


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module.backbone.", "teacher.backbone."]
)
def test_wrappers_of_the_model_are_taken_off(prefix: str, tmp_path: Path) -> None:
    state = {prefix + key: value for key, value in weights().items()}
    torch.save(state | {"head.mlp.0.weight": torch.zeros(3), "student.x": torch.zeros(2)}, tmp_path / "w.pth")
    model, _ = model_from_recipe(recipe_of(tmp_path, "w.pth"))
    assert torch.equal(model.head.weight.data, weights()["head.weight"])


RAW, AVERAGED = weights(), {key: value * 2 for key, value in weights().items()}


@pytest.mark.parametrize(
    ("content", "taken", "averaged"),
    [
        ({"state_dict": RAW, "state_dict_ema": AVERAGED}, "'state_dict_ema', not those under 'state_dict'", True),
        ({"model": RAW, "model_ema": AVERAGED}, "'model_ema', not those under 'model'", True),
        ({"model_ema": AVERAGED}, "'model_ema'", True),
        ({"model_state_dict": RAW}, "'model_state_dict'", False),
        ({"teacher": RAW, "student": AVERAGED}, "'teacher'", False),
        ({"state_dict": RAW, "state_dict_ema": None}, "", False),
        ({"model": RAW, "optimizer": {"state": {}}}, "", False),
    ],
)
def test_the_set_of_weights_is_the_one_that_timm_takes_and_the_build_says_which(
    content: dict, taken: str, averaged: bool, tmp_path: Path
) -> None:
    torch.save({**content, "epoch": 3}, tmp_path / "timm.pth")
    model, origin = model_from_recipe(recipe_of(tmp_path, "timm.pth"))
    assert origin.statement == "weights from timm.pth" + (f": the weights under {taken}" if taken else "")
    assert torch.equal(model.head.weight.data, (AVERAGED if averaged else RAW)["head.weight"])


def test_spec_is_that_of_these_models() -> None:
    assert isinstance(SPEC, TimmVitSpec) and SPEC.grid == (4, 4)
