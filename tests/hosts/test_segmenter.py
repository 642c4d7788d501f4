"""Segmenter against mmsegmentation's own modules, its config, its checkpoints and its work."""

# ruff: noqa: E501 - whole messages are asserted, one case a line
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recipe_cases import ABSENT, TINY_ATM, TINY_LINEAR, TINY_SEGMENTER
from safetensors.torch import save_file

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.segmenter.checkpoint import from_published_keys
from edgeexport.hosts.segmenter.host import SegmenterHost
from edgeexport.recipe.schema import Recipe

HEAD, BACKBONE = ("model", "decode_head"), ("model", "backbone")


@pytest.mark.parametrize("grid", [(128, 128), (96, 160)])
def test_scores_are_those_of_mmsegmentation(grid: tuple[int, int], validated: Callable[..., Recipe]) -> None:
    """The mask transformer on features of ours, by mmsegmentation's head with the same weights, and its resize."""
    mmseg_head = pytest.importorskip("mmseg.models.decode_heads.segmenter_mask_head").SegmenterMaskTransformerHead
    recipe = validated({("output",): "scores", ("input", "shape"): (2, 3, *grid)}, TINY_SEGMENTER)
    model, _ = model_from_recipe(recipe)
    config = {key: value for key, value in TINY_SEGMENTER["model"]["decode_head"].items() if key != "type"}
    theirs = mmseg_head(**config).eval()
    unfit = theirs.load_state_dict(model.decode_head.state_dict(), strict=True)
    assert not unfit.missing_keys and not unfit.unexpected_keys
    fixed = fixed_from_model(model, recipe)
    image = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(1))
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        trace = fixed.trace(image, watch=lambda number, x, _: seen.update({number: x}))
        features = model.backbone.patch_tokens(seen[4], 4)
        rows, columns = grid[0] // 16, grid[1] // 16
        logits = theirs([features.transpose(1, 2).unflatten(2, (rows, columns))])
        wanted = torch.nn.functional.interpolate(logits, size=grid, mode="bilinear", align_corners=False)
    torch.testing.assert_close(trace.outputs["scores"], wanted, atol=1e-4, rtol=1e-3)


def test_the_backbone_is_mmsegmentations(validated: Callable[..., Recipe]) -> None:
    their_vit = pytest.importorskip("mmseg.models.backbones.vit").VisionTransformer
    recipe = validated({("model", "backbone", "patch_bias"): False}, TINY_SEGMENTER)
    model, _ = model_from_recipe(recipe)
    config = {
        key: value for key, value in TINY_SEGMENTER["model"]["backbone"].items() if key not in ("type", "patch_bias")
    }
    theirs = their_vit(**config, patch_size=16)
    theirs.eval()
    fits = theirs.load_state_dict(model.backbone.state_dict(), strict=False)
    if fits.missing_keys or fits.unexpected_keys:  # versions differ in the patch embedding's bias
        assert fits.missing_keys == ["patch_embed.projection.bias"]
        torch.nn.init.zeros_(theirs.patch_embed.projection.bias)
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    fixed = fixed_from_model(model, recipe)
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        (wanted,) = theirs(image)
        fixed.trace(image, watch=lambda number, x, _: seen.update({number: x}))
    found = model.backbone.patch_tokens(seen[4], 4).transpose(1, 2).unflatten(2, (8, 8))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_the_linear_decoder_is_a_product_per_token(validated: Callable[..., Recipe]) -> None:
    model, _ = model_from_recipe(validated({}, TINY_LINEAR))
    tokens = torch.randn(2, 7, 48)
    weight, bias = model.decode_head.conv_seg.weight[:, :, 0, 0], model.decode_head.conv_seg.bias
    torch.testing.assert_close(model.decode_head(tokens), tokens @ weight.T + bias)


def test_a_distillation_token_stands_behind_the_class_token(validated: Callable[..., Recipe]) -> None:
    recipe = validated({}, TINY_LINEAR)
    assert recipe.facts.prefix == 2 and recipe.facts.num_tokens == 66
    model, _ = model_from_recipe(recipe)
    backbone = model.backbone
    assert backbone.pos_embed.shape == (1, 66, 48)
    x = backbone.embed(torch.zeros(1, 64, 768), backbone.position_grid(8, 8))
    torch.testing.assert_close(x[0, 0], (backbone.cls_token + backbone.pos_embed[:, 0])[0, 0])
    torch.testing.assert_close(x[0, 1], (backbone.dist_token + backbone.pos_embed[:, 1])[0, 0])


@pytest.mark.parametrize(("width", "heads", "published"), [(192, 3, 12.8), (384, 6, 38.6), (768, 12, 130)])
def test_work_is_the_published(width: int, heads: int, published: float, validated: Callable[..., Recipe]) -> None:
    """Published: GFLOPs of Segmenter ViT-Ti, S and B at 512x512 with 150 classes, in ALGM's tables."""
    sizes = {
        (*BACKBONE, "img_size"): 512, (*BACKBONE, "embed_dims"): width, (*BACKBONE, "num_heads"): heads,
        (*BACKBONE, "num_layers"): 12, (*HEAD, "in_channels"): width, (*HEAD, "channels"): width,
        (*HEAD, "embed_dims"): width, (*HEAD, "num_heads"): heads, (*HEAD, "num_classes"): 150,
        ("input", "shape"): (1, 3, 512, 512),
    }  # fmt: skip
    counted = account(validated(sizes, TINY_SEGMENTER)).reduced
    assert counted.total / 1e9 == pytest.approx(published, rel=0.01)


def test_the_decoder_works_on_shared_and_merged_tokens(validated: Callable[..., Recipe]) -> None:
    for reduction, tokens in (({"cts": {"num_shared": 5, "align_tokens": 1}}, 49), ({"tome": {"r": [8, 0, 5]}}, 51)):
        accounting = account(validated({("reduction",): reduction}, TINY_SEGMENTER))
        (head,) = accounting.reduced.heads
        assert head.tokens == tokens
        assert head.macs < accounting.dense.heads[0].macs


def as_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keys of ours as the published code names them: the table of `from_published_keys` the other way, by hand."""
    found = {}
    for key, value in state.items():
        name = key.replace("backbone.", "encoder.").replace("decode_head.", "decoder.").replace("layers.", "blocks.", 1)
        for ours, theirs in (
            (".ln1.", ".norm1."), (".ln2.", ".norm2."), (".attn.attn.in_proj_", ".attn.qkv."), (".attn.attn.out_proj.", ".attn.proj."),
            (".ffn.layers.0.0.", ".mlp.fc1."), (".ffn.layers.1.", ".mlp.fc2."), ("patch_embed.projection", "patch_embed.proj"),
            ("dec_proj", "proj_dec"), ("conv_seg", "head"),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        name = name.replace("encoder.norm1.", "encoder.norm.") if "blocks" not in name else name
        for ours, theirs in (("patch_proj.weight", "proj_patch"), ("classes_proj.weight", "proj_classes")):
            if name == f"decoder.{ours}":
                name, value = f"decoder.{theirs}", value.T
        if name == "decoder.head.weight":
            value = value[:, :, 0, 0]
        found[name] = value.contiguous()
    return found


@pytest.mark.parametrize("base", [TINY_SEGMENTER, TINY_LINEAR], ids=["mask transformer", "linear, distilled"])
def test_a_checkpoint_of_the_published_code_fits(base: dict, tmp_path: Path, validated: Callable[..., Recipe]) -> None:
    model, _ = model_from_recipe(validated({}, base))
    published = as_published(model.state_dict())
    assert not any(key.startswith(("backbone.", "decode_head.")) for key in published)
    published |= {
        "encoder.head.weight": torch.zeros(9, 48),
        "encoder.head.bias": torch.zeros(9),
        "encoder.head_dist.bias": torch.zeros(9),
    }
    path = tmp_path / "checkpoint.safetensors"
    save_file(published, path)
    loaded, origin = model_from_recipe(validated({("checkpoint",): str(path), ("seed",): 5}, base))
    assert "published Segmenter code" in origin.statement
    for key, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, msg=key)


def test_other_networks_keys_stay() -> None:
    assert list(from_published_keys({"policy_net.x": torch.zeros(1), "encoder.head.weight": torch.zeros(1)})) == [
        "policy_net.x"
    ]


def test_which_family_an_encoder_decoder_is(validated: Callable[..., Recipe]) -> None:
    assert isinstance(validated({}, TINY_SEGMENTER).host, SegmenterHost)
    assert isinstance(validated({}, TINY_LINEAR).host, SegmenterHost)
    assert not isinstance(validated({}, TINY_ATM).host, SegmenterHost)
    assert validated({("model", "type"): "Segmenter"}, TINY_SEGMENTER).model == validated({}, TINY_SEGMENTER).model


@pytest.mark.parametrize(
    "key", ["attn_drop_rate", "drop_path_rate", "drop_rate", "dropout_ratio", "loss_decode", "init_std"]
)
def test_training_keys_change_nothing(key: str, validated: Callable[..., Recipe]) -> None:
    assert validated({(*HEAD, key): 0.5}, TINY_SEGMENTER).model == validated({}, TINY_SEGMENTER).model


def test_settings_are_read(validated: Callable[..., Recipe]) -> None:
    head = validated(
        {(*HEAD, "mlp_ratio"): 2, (*HEAD, "qkv_bias"): False, (*HEAD, "norm_cfg"): {"type": "LN", "eps": 1e-3}},
        TINY_SEGMENTER,
    ).model.decode_head
    assert (head.mlp_ratio, head.qkv_bias, head.norm_eps) == (2, False, 1e-3)
    read = validated({(*BACKBONE, "out_indices"): [1, 3], (*HEAD, "in_index"): 0}, TINY_SEGMENTER).model.decode_head
    assert read.stages == (2,)


@pytest.mark.parametrize(
    ("base", "path", "value", "message"),
    [
        (TINY_SEGMENTER, (*HEAD, "num_layers"), ABSENT, "model.decode_head | required key 'num_layers' is missing | add num_layers=2"),
        (TINY_SEGMENTER, (*HEAD, "embed_dims"), ABSENT, "model.decode_head | required key 'embed_dims' is missing"),
        (TINY_SEGMENTER, (*HEAD, "num_heads"), 5, "model.decode_head.num_heads = 5 | does not divide embed_dims = 32"),
        (TINY_SEGMENTER, (*HEAD, "in_channels"), 64, "model.decode_head.in_channels = 64 | differs from the backbone's embed_dims = 48"),
        (TINY_SEGMENTER, (*HEAD, "num_fcs"), 3, "model.decode_head.num_fcs = 3 | unsupported: the feed-forward network has two layers"),
        (TINY_SEGMENTER, (*HEAD, "mlp_ratio"), 0.1, "model.decode_head.mlp_ratio = 0.1 | times embed_dims = 32 must be a whole number"),
        (TINY_SEGMENTER, (*HEAD, "align_corners"), True, "model.decode_head.align_corners = True | unsupported"),
        (TINY_SEGMENTER, (*HEAD, "layers"), 2, "model.decode_head.layers = 2 | unknown key 'layers'"),
        (TINY_SEGMENTER, ("model", "neck"), {"type": "FPN"}, "model.neck"),
        (TINY_SEGMENTER, (*BACKBONE, "type"), "ViT_prune", "model.backbone"),
        (TINY_LINEAR, (*HEAD, "num_convs"), ABSENT, "model.decode_head.num_convs = 2 | is mmsegmentation's default; Segmenter's linear decoder has no convolution | write num_convs=0"),
        (TINY_LINEAR, (*HEAD, "concat_input"), ABSENT, "model.decode_head.concat_input = True | is mmsegmentation's default"),
        (TINY_LINEAR, (*HEAD, "num_convs"), 1, "model.decode_head.num_convs = 1 | unsupported: Segmenter's linear decoder has no convolution"),
        (TINY_LINEAR, (*HEAD, "channels"), 24, "model.decode_head.channels = 24 | differs from in_channels = 48"),
        (TINY_LINEAR, (*BACKBONE, "with_cls_token"), False, "model.backbone.with_dist_token = True | a distillation token stands behind a class token"),
        (TINY_ATM, (*HEAD, "type"), "TPNATMHead", "model.decode_head.type = 'TPNATMHead' | unsupported: the head of SegViT's shrunk variant"),
        (TINY_SEGMENTER, ("reduction",), {"dtop": {"prune": {2: 4}}}, "needs auxiliary PruneHeads, and a Segmenter has none"),
    ],
)  # fmt: skip
def test_what_is_refused(base: dict, path: tuple, value: object, message: str, refused: Callable[..., str]) -> None:
    assert message in refused({path: value}, base)
