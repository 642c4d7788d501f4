"""timm's Eva (DINOv3, EVA, PE and kin) and rarer blocks of VisionTransformer: exact, also image by image as published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.timm_vit.config import timm_from_config
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.tokens.trace import Trace

SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 4, "num_classes": 7}
ROTARY: dict[str, dict[str, object]] = {
    "vit_small_patch16_dinov3": {},
    "vit_base_patch16_dinov3_qkvb": {},
    "vit_huge_plus_patch16_dinov3": {},  # gated MLPs
    "eva02_tiny_patch14_224": {},
    "eva02_base_patch16_clip_224": {},  # projections apart, norms inside
    "vit_base_patch16_rope_224": {},
    "vit_pe_core_tiny_patch16_384": {"attn_pool_num_heads": 4},
    "vit_pe_spatial_base_patch16_512": {},
    "vit_base_patch16_sapiens2": {"num_kv_heads": 2},  # shared keys, RMS norms
}
OTHERS: dict[str, dict[str, object]] = {
    "eva_giant_patch14_224": {},
    "vit_giant_patch14_dinov2": {},  # gated MLPs
    "vit_small_patch16_18x2_224": {},  # two attentions side by side
    "vit_base_patch16_rpn_224": {},  # norms behind the branches
    "vit_base_patch16_siglip_224": {},  # pooling by attention, which weighs tokens by size
}
ALL = {**ROTARY, **OTHERS}


def recipe_of(name: str, reduction: dict[str, object] | None = None) -> Recipe:
    side = 5 * (14 if "patch14" in name else 16)
    model = {"type": "timm", "name": name, **SMALL, **ALL[name], "img_size": side}
    config = {"model": model, "input": {"shape": (2, 3, side, side)}, "reduction": reduction}
    return recipe_from_config(config, Path("x.py"))


def image_of(recipe: Recipe) -> Tensor:
    return torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(ALL))
def test_without_merging_the_walk_is_timms_forward(name: str) -> None:
    recipe = recipe_of(name)
    model, _ = model_from_recipe(recipe)
    with torch.no_grad():
        found = fixed_from_model(model, recipe).trace(image_of(recipe)).prediction
        torch.testing.assert_close(found, model(image_of(recipe)), atol=1e-5, rtol=1e-4)


def assert_as_published(recipe: Recipe) -> Trace:
    model, _ = model_from_recipe(recipe)
    with torch.no_grad():
        trace = fixed_from_model(model, recipe).trace(image_of(recipe))
    images = PublishedModel(model, recipe).run([image_of(recipe)])
    torch.testing.assert_close(
        trace.prediction, torch.stack([image.outputs["logits"] for image in images]), atol=1e-5, rtol=1e-4
    )
    return trace


@pytest.mark.parametrize("name", list(ALL))
def test_merged_it_is_what_timms_own_modules_compute_of_each_image(name: str) -> None:
    assert_as_published(recipe_of(name, {"tome": {"r": 3}}))


@pytest.mark.parametrize(
    "reduction",
    [
        {"tome": {"r": 3, "rope": "mean"}},
        {"tome": {"r": 3, "metric": "q"}},
        {"dsm": {"r": 2, "delay": 1, "window": 3}},
        {"dsm": {"r": 2, "delay": 1, "window": 3, "rope": "mean"}},
        {"random": {"r": 3}},
        {"random": {"r": 3, "remove": "prune"}},
    ],
)
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_base_patch16_clip_224"])
def test_rotary_positions_travel_with_every_method(name: str, reduction: dict[str, object]) -> None:
    assert_as_published(recipe_of(name, reduction))


@pytest.mark.parametrize("rope", ["destination", "mean"])
def test_a_merged_token_is_turned_as_its_destination_or_as_the_mean_of_its_tokens(rope: str) -> None:
    """By brute force, from the final sources alone: each token's rotation against those of the tokens that it holds."""
    recipe = recipe_of("vit_small_patch16_dinov3", {"tome": {"r": 3, "rope": rope}})
    model, _ = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    with torch.no_grad():
        trace = fixed.trace(image_of(recipe))
    assert trace.rotation is not None and trace.origin is not None and fixed.walk.rotation is not None
    first = fixed.walk.rotation[0]
    for image in range(2):
        for place in range(trace.rotation.shape[1]):
            held = first[trace.origin[image] == place]
            found = trace.rotation[image, place]
            if rope == "mean":
                torch.testing.assert_close(found, held.mean(dim=0))
            else:
                assert any(torch.equal(found, row) for row in held)


def test_prefix_tokens_are_not_turned() -> None:
    recipe = recipe_of("vit_small_patch16_dinov3")
    model, _ = model_from_recipe(recipe)
    rotation = fixed_from_model(model, recipe).walk.rotation
    assert rotation is not None
    sine, cosine = rotation[0, :5].chunk(2, dim=-1)
    assert not sine.any() and bool((cosine == 1).all())


def test_rope_means_nothing_without_rotary_positions() -> None:
    with pytest.raises(RecipeError, match=r"tome\.rope = 'mean' \| means nothing: a timm ViT like this has no rotary"):
        recipe_of("vit_giant_patch14_dinov2", {"tome": {"r": 3, "rope": "mean"}})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base_patch16_xp_224", "attention and MLP act on the same tokens, with no place between them to merge"),
        ("vit_small_patch16_rope_mixed_224", "rope is a RotaryEmbeddingMixed, whose angles every block has of its own"),
        ("beit_base_patch16_224", "its attention weighs tokens by how they lie to each other"),
        ("samvit_base_patch16_224", "it works in windows or in stages of fewer tokens"),
        ("vit_relpos_base_patch16_224", "its attention weighs tokens by how they lie to each other"),
        ("vit_base_r50_s16_224", "its patches come out of a convolutional network"),
        ("swin_tiny_patch4_window7_224", "it works in windows or in stages of fewer tokens"),
        ("vit_dlittle_patch16_reg1_gap_256", "blocks.0.attn is a DiffAttention, not an Attention"),
        ("naflexvit_base_patch16_gap", "its patches differ in number from image to image"),
        ("xcit_nano_12_p16_224", "its attention is between channels"),
    ],
)
def test_what_is_not_plain_says_which_part_and_why(name: str, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        timm_from_config({"type": "timm", "name": name}, Place("x.py", "model"))
    assert reason in str(caught.value)


def test_a_name_that_is_fetched_elsewhere_is_told_its_own() -> None:
    name = "hf_hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    with pytest.raises(RecipeError) as caught:
        timm_from_config({"type": "timm", "name": name}, Place("x.py", "model"))
    assert "write timm's own name, such as 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'" in str(caught.value)


def test_a_size_that_may_change_is_fixed_where_the_name_alone_asks_for_it() -> None:
    spec = timm_from_config({"type": "timm", "name": "test_vit"}, Place("x.py", "model"))
    assert spec.arguments["dynamic_img_size"] is False


def test_timms_own_size_may_leave_a_border_out_and_a_recipes_may_not() -> None:
    named = {"type": "timm", "name": "vit_so400m_patch14_siglip_384", "num_classes": 2}
    spec = timm_from_config(named, Place("x.py", "model"))
    assert spec.grid == (27, 27)
    assert timm_from_config({**named, "img_size": 384}, Place("x.py", "model")) == spec  # as a bundle writes it out
    with pytest.raises(RecipeError, match="use 392 or 406"):
        timm_from_config({**named, "img_size": 400}, Place("x.py", "model"))


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        ("vit_base_patch16_sapiens2", {"tome": {"r": 3}}),
        ("vit_huge_plus_patch16_dinov3", {"tome": {"r": 3, "rope": "mean"}}),
        ("vit_small_patch16_18x2_224", None),
    ],
)
def test_the_graph_gives_what_torch_gives_and_has_the_products_that_are_counted(
    name: str, reduction: dict[str, object] | None
) -> None:
    import onnxruntime

    from edgeexport.commands.build import exported_graphs
    from edgeexport.fixed.tokens import account
    from edgeexport.graph.macs import graph_macs

    recipe = recipe_of(name, reduction)
    model, origin = model_from_recipe(recipe)
    fixed = fixed_from_model(model, recipe)
    graphs = exported_graphs(fixed, origin)
    session = onnxruntime.InferenceSession(
        graphs.with_functions.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = image_of(recipe)
    with torch.no_grad():
        expected = fixed.trace(image).prediction
    found = torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    if reduction is None:
        dense = account(recipe).dense
        norms = dense.final_norm + sum(block.norms for block in dense.blocks)
        assert graph_macs(graphs.plain).of_category("product") == 2 * (dense.total - norms)  # a batch of two


@pytest.mark.parametrize("name", list(ALL))
def test_blocks_are_counted_as_their_layers_multiply(name: str) -> None:
    """By brute force: every linear layer of a block on the tokens that meet it, and both products of every attention."""
    from edgeexport.fixed.tokens import account

    recipe = recipe_of(name)
    block = recipe.host.model(recipe.model).blocks[0]
    tokens = recipe.host.facts(recipe.model, recipe.input).num_tokens
    linear = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, torch.nn.Linear))
    attentions = len(getattr(block, "attns", [None]))
    counted = account(recipe).dense.blocks[0]
    assert counted.attention + counted.mlp == tokens * linear + attentions * 2 * tokens**2 * 48
