"""A timm host taken apart into a walk computes what timm computes, and is not changed by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.timm_vit.walk import TimmVitWalk
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.tokens.trace import Trace

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 7}
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "average pooling with a class token": {"global_pool": "avg"},
    "average pooling of all tokens": {"global_pool": "avg", "pool_include_prefix": True},
    "average pooling without a norm of all tokens": {"global_pool": "avg", "fc_norm": True},
    "maximum pooling": {"global_pool": "max"},
    "average and maximum": {"global_pool": "avgmax"},
    "attention pooling": {"global_pool": "map", "class_token": False},
    "attention pooling beside a class token": {"global_pool": "map"},
    "attention pooling of all tokens": {"global_pool": "map", "pool_include_prefix": True},
    "registers": {"reg_tokens": 4},
    "layer scale": {"init_values": 0.1},
    "normed queries and keys": {"qk_norm": True},
    "scaled norms": {"scale_attn_norm": True, "scale_mlp_norm": True},
    "positions for patches alone": {"no_embed_class": True},
    "registers without positions": {"no_embed_class": True, "reg_tokens": 2},
    "no positions": {"pos_embed": "none"},
    "norm before the blocks": {"pre_norm": True},
    "no bias": {"qkv_bias": False, "proj_bias": False},
    "not square": {"img_size": (32, 48)},
    "no final norm": {"final_norm": False},
}


def small_recipe(tmp_path: Path, model: dict[str, object], **more: object) -> Recipe:
    size = model.get("img_size", SMALL["img_size"])
    height, width = size if isinstance(size, tuple) else (size, size)
    config = {"model": {"type": "timm", **SMALL, **model}, "input": {"shape": (2, 3, height, width)}, **more}
    return recipe_from_config(config, tmp_path / "x.py")


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_without_merging_the_walk_is_timms_forward(variant: str, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, VARIANTS[variant])
    model, _ = model_from_recipe(recipe)
    image = torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = fixed_from_model(model, recipe).trace(image).prediction
        torch.testing.assert_close(found, model(image), atol=1e-5, rtol=1e-4)


def test_distilled_host_and_clip(tmp_path: Path) -> None:
    distilled = {"type": "timm", "name": "deit_tiny_distilled_patch16_224", "depth": 2}
    video = {"type": "timm", **SMALL, "frames": 4, "tubelet": 2}
    for model_config, shape in ((distilled, (1, 3, 224, 224)), (video, (1, 3, 4, 32, 32))):
        recipe = recipe_from_config({"model": model_config, "input": {"shape": shape}}, tmp_path / "x.py")
        model, _ = model_from_recipe(recipe)
        image = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            found = fixed_from_model(model, recipe).trace(image).prediction
            torch.testing.assert_close(found, model(image), atol=1e-5, rtol=1e-4)


def test_tubelets_are_a_product_over_time_and_space(tmp_path: Path) -> None:
    recipe = recipe_from_config(
        {"model": {"type": "timm", **SMALL, "frames": 4, "tubelet": 2}, "input": {"shape": (1, 3, 4, 32, 32)}},
        tmp_path / "x.py",
    )
    model, _ = model_from_recipe(recipe)
    assert isinstance(model, VisionTransformer)
    clip = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tokens = model.patch_embed(clip)
    kernel, bias = model.patch_embed.proj.weight, model.patch_embed.proj.bias
    assert tokens.shape == (1, 2 * 4 * 4, 24)
    step, row, column = 1, 2, 3
    cut = clip[0, :, 2 * step : 2 * step + 2, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    expected = (kernel * cut).sum(dim=(1, 2, 3, 4)) + bias
    torch.testing.assert_close(tokens[0, (step * 4 + row) * 4 + column], expected, atol=1e-5, rtol=1e-4)


def test_the_model_given_is_never_changed(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, {}, reduction={"tome": {"r": 3}})
    model, _ = model_from_recipe(recipe)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    forwards = {name: (type(module), module.forward.__func__) for name, module in model.named_modules()}
    image = torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = model(image)
        fixed_from_model(model, recipe).trace(image)
        torch.testing.assert_close(model(image), first, atol=0, rtol=0)
    assert forwards == {name: (type(module), module.forward.__func__) for name, module in model.named_modules()}
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("model_config", [{}, {"pool_include_prefix": True}, {"reg_tokens": 2}])
def test_weighted_by_sizes_of_one_the_prefix_still_stays_out(model_config: dict[str, object], tmp_path: Path) -> None:
    """Where nothing merged there are no sizes; what is asked for does not change by that."""
    recipe = small_recipe(tmp_path, {"global_pool": "avg", **model_config})
    model, _ = model_from_recipe(recipe)
    assert isinstance(model, VisionTransformer)
    walk = TimmVitWalk(model, recipe.model, recipe.input).eval()
    tokens = torch.randn(2, model.num_prefix_tokens + 16, 24, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = walk.predict({3: tokens}, Trace(), "size_weighted")
        ones = torch.ones(tokens.shape[:2])[..., None]
        expected = walk.predict({3: tokens}, Trace(size=ones), "size_weighted")
        patches = model.norm(tokens)[:, model.num_prefix_tokens :].mean(dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found["logits"], model.head(model.fc_norm(patches)))


@pytest.fixture
def metric_of(tmp_path: Path) -> Callable[[str], torch.Tensor]:
    def run(name: str) -> torch.Tensor:
        recipe = small_recipe(tmp_path, {}, reduction={"tome": {"r": 3, "metric": name}})
        model, _ = model_from_recipe(recipe)
        image = torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return fixed_from_model(model, recipe).trace(image).evidence["merges_1"].best

    return run


def test_metrics_differ(metric_of: Callable[[str], torch.Tensor]) -> None:
    found = [torch.nan_to_num(metric_of(name)) for name in ("k", "q", "v", "x")]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            assert not torch.allclose(one, other, atol=1e-3)
