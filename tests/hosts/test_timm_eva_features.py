"""Features, taps and embeddings of timm's Eva (DINOv3 and kin): timm's own without merging; merged, rotary positions travel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.tokens.trace import Trace

SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 4, "num_classes": 7, "img_size": (64, 80)}
MODELS: dict[str, dict[str, object]] = {
    "vit_small_patch16_dinov3": {},  # register tokens
    "eva02_base_patch16_clip_224": {},  # projections apart
    "vit_pe_core_tiny_patch16_384": {"attn_pool_num_heads": 4},  # pools by attention
    "vit_base_patch16_sapiens2": {"num_kv_heads": 2},  # shared keys
}
EVERYTHING = {"output": "features", "extra_outputs": ("embedding", "feature_map", "logits"), "taps": [2, 0]}


def recipe_of(name: str, **more: object) -> Recipe:
    model = {"type": "timm", "name": name, **SMALL, **MODELS[name]}
    return recipe_from_config({"model": model, "input": {"shape": (2, 3, 64, 80)}, **EVERYTHING, **more}, Path("x.py"))


def image_of(recipe: Recipe) -> Tensor:
    return torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))


def fixed_of(recipe: Recipe) -> tuple[FixedModel, nn.Module]:
    model, _ = model_from_recipe(recipe)
    return fixed_from_model(model, recipe), model


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def assert_as_published(recipe: Recipe, model: nn.Module, trace: Trace) -> None:
    for one, published in enumerate(PublishedModel(model, recipe).run([image_of(recipe)])):
        for name in ("features", "embedding", "feature_map", "logits", "tap_0", "tap_2"):
            assert_close(trace.outputs[name][one], published.outputs[name])


@pytest.mark.parametrize("name", list(MODELS))
def test_without_merging_all_outputs_are_timms(name: str) -> None:
    recipe = recipe_of(name)
    fixed, model = fixed_of(recipe)
    image = image_of(recipe)
    with torch.no_grad():
        found = fixed.trace(image).outputs
        tokens = model.forward_features(image)
        taps = model.forward_intermediates(
            image, indices=[0, 2], norm=True, intermediates_only=True, return_prefix_tokens=True, output_fmt="NLC"
        )
        assert_close(found["features"], tokens)
        assert_close(found["feature_map"].flatten(2).transpose(1, 2), tokens[:, model.num_prefix_tokens :])
        for block, tap in zip((0, 2), taps, strict=True):
            patches, prefix = tap if isinstance(tap, tuple) else (tap, tap[:, :0])
            assert_close(found[f"tap_{block}"], torch.cat([prefix, patches], dim=1))
        assert_close(found["logits"], model(image))
        model.reset_classifier(0)
        assert_close(found["embedding"], model(image))
    assert found["feature_map"].shape == (2, 48, 4, 5)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_without_a_classifier_gives_timms_embedding(name: str) -> None:
    model = {"type": "timm", "name": name, **SMALL, **MODELS[name], "num_classes": 0}
    recipe = recipe_from_config({"model": model, "input": {"shape": (2, 3, 64, 80)}}, Path("x.py"))
    assert recipe.output == "embedding"
    fixed, built = fixed_of(recipe)
    with torch.no_grad():
        assert_close(fixed.trace(image_of(recipe)).prediction, built(image_of(recipe)))


@pytest.mark.parametrize("reduction", [{"tome": {"r": 3}}, {"tome": {"r": 3, "rope": "mean"}}, {"random": {"r": 3}}])
@pytest.mark.parametrize("name", list(MODELS))
def test_merged_tokens_come_back_to_where_they_came_from(name: str, reduction: dict[str, object]) -> None:
    recipe = recipe_of(name, reduction=reduction)
    fixed, model = fixed_of(recipe)
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def watch(number: int, x: Tensor, trace: Trace) -> None:
        if trace.origin is not None:
            seen[number] = (x, trace.origin)

    with torch.no_grad():
        trace = fixed.trace(image_of(recipe), watch=watch)
        entering = model.num_prefix_tokens + 20
        for output, block in (("tap_0", 1), ("tap_2", 3), ("features", 3)):
            x, origin = seen[block]
            assert x.shape[1] == entering - 3 * block
            for one in range(2):
                expected = torch.stack([x[one, place] for place in origin[one].tolist()])
                assert_close(trace.outputs[output][one], model.norm(expected))
    assert_as_published(recipe, model, trace)


@pytest.mark.parametrize("rope", ["destination", "mean"])
@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_base_patch16_clip_224"])
def test_tokens_merged_inside_a_block_are_turned_inside_it(name: str, rope: str) -> None:
    recipe = recipe_of(name, reduction={"tome": {"r": 6, "unmerge": "block", "rope": rope}})
    fixed, model = fixed_of(recipe)
    with torch.no_grad():
        trace = fixed.trace(image_of(recipe))
    assert trace.rotation is not None and trace.rotation.shape[1] == trace.outputs["features"].shape[1]
    assert_as_published(recipe, model, trace)
    other = recipe_of(
        name,
        reduction={"tome": {"r": 6, "unmerge": "block", "rope": {"mean": "destination", "destination": "mean"}[rope]}},
    )
    with torch.no_grad():  # so that what was compared depends on it
        turned = fixed_from_model(model, other).trace(image_of(other))
    assert not torch.allclose(turned.outputs["features"], trace.outputs["features"], atol=1e-4)


@pytest.mark.parametrize("reduction", [{"r": 3, "rope": "mean"}, {"r": 6, "unmerge": "block"}])
def test_the_graph_gives_what_torch_gives(reduction: dict[str, object]) -> None:
    import onnxruntime

    from edgeexport.commands.build import exported_graphs

    recipe = recipe_of("vit_small_patch16_dinov3", reduction={"tome": reduction})
    model, origin = model_from_recipe(recipe)
    fixed, image = fixed_from_model(model, recipe), image_of(recipe)
    graph = exported_graphs(fixed, origin).with_functions.SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = fixed.trace(image).outputs
    names = ["features", "tap_2", "tap_0", "embedding", "feature_map", "logits"]
    for name, found in zip(names, session.run(names, {"image": image.numpy()}), strict=True):
        torch.testing.assert_close(torch.from_numpy(found), expected[name], atol=1e-4, rtol=1e-3)
