"""Features and embeddings of a timm host: timm's own without merging, and brought back by copying where tokens merged."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from recipe_cases import TINY_CLIP, TINY_TIMM
from safetensors.torch import save_file

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.published import PublishedModel
from edgeexport.fixed.tokens import account
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config

SMALL = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 7}
ALL = ("embedding", "features", "feature_map", "logits")
VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "registers": {"reg_tokens": 3},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "a norm behind the mean": {"global_pool": "avg", "fc_norm": True},
    "attention pooling": {"global_pool": "map", "class_token": False},
}


def recipe_of(tmp_path: Path, model: dict[str, object] | None = None, **more: object) -> Recipe:
    config = {"model": {"type": "timm", **SMALL, **(model or {})}, "input": {"shape": (2, 3, 32, 48)}, **more}
    return recipe_from_config(config, tmp_path / "x.py")


def image_of(recipe: Recipe) -> torch.Tensor:
    return torch.randn(recipe.input.shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("output", ["embedding", "features"])
def test_without_merging_they_are_timms(variant, output, tmp_path):
    others = tuple(name for name in ALL if name != output)
    recipe = recipe_of(tmp_path, VARIANTS[variant], output=output, extra_outputs=others)
    model, _ = model_from_recipe(recipe)
    fixed, image = fixed_from_model(model, recipe), image_of(recipe)
    with torch.no_grad():
        found = fixed.trace(image).outputs
        tokens, logits = model.forward_features(image), model(image)
        model.reset_classifier(0, model.global_pool)
        embedding = model(image)
    assert list(found) == [output, *others] == fixed.output_names
    patches = tokens[:, model.num_prefix_tokens :].transpose(1, 2).reshape(2, 24, 4, 6)
    for name, expected in zip(ALL, (embedding, tokens, patches, logits), strict=True):
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-4)


def test_a_distilled_models_embedding_is_the_mean_of_both_tokens(tmp_path):
    model = {"type": "timm", "name": "deit_tiny_distilled_patch16_224", "depth": 1, "img_size": 32}
    recipe = recipe_from_config(
        {"model": model, "input": {"shape": (1, 3, 32, 32)}, "output": "embedding"}, tmp_path / "x"
    )
    built, _ = model_from_recipe(recipe)
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = fixed_from_model(built, recipe).trace(image).prediction
        torch.testing.assert_close(found, built.forward_features(image)[:, :2].mean(dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reduction", [{"tome": {"r": 5}}, {"dsm": {"r": 4, "window": 2}}, {"random": {"r": 3}}])
def test_merged_tokens_come_back_at_every_place_that_they_came_from(reduction, tmp_path):
    recipe = recipe_of(
        tmp_path, output="features", extra_outputs=("feature_map", "source", "size"), reduction=reduction
    )
    model, _ = model_from_recipe(recipe)
    fixed, image = fixed_from_model(model, recipe), image_of(recipe)
    last: list[torch.Tensor] = []
    with torch.no_grad():
        found = fixed.trace(image, watch=lambda number, x, trace: last.append(x)).outputs
        normed = model.norm(last[-1])
    assert found["features"].shape == (2, 25, 24) and last[-1].shape[1] < 25
    for one in range(2):
        for token in range(25):
            expected = normed[one, found["source"][one, token]]
            torch.testing.assert_close(found["features"][one, token], expected)
            if token:
                cell = found["feature_map"][one, :, (token - 1) // 6, (token - 1) % 6]
                torch.testing.assert_close(cell, expected)
    if "random" not in reduction:
        assert (found["source"][0] != found["source"][1]).any()
    for one, published in enumerate(PublishedModel(model, recipe).run([image])):
        for name in ("features", "feature_map"):
            torch.testing.assert_close(published.outputs[name], found[name][one], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["mean", "size_weighted"])
def test_an_embedding_is_pooled_from_merged_tokens(pool, tmp_path):
    model = {"global_pool": "avg"}
    recipe = recipe_of(tmp_path, model, output="embedding", reduction={"tome": {"r": 5, "pool": pool}})
    built, _ = model_from_recipe(recipe)
    image = image_of(recipe)
    with torch.no_grad():
        found = fixed_from_model(built, recipe).trace(image).prediction
    published = torch.stack([one.outputs["embedding"] for one in PublishedModel(built, recipe).run([image])])
    torch.testing.assert_close(found, published, atol=1e-5, rtol=1e-4)


def test_a_model_without_a_classifier_gives_its_embedding(validated, refused):
    recipe = validated({("model", "num_classes"): 0}, TINY_TIMM)
    assert (recipe.output, recipe.model.num_classes, recipe.facts.num_classes) == ("embedding", 0, 0)
    message = refused({("model", "num_classes"): 0, ("output",): "logits"}, TINY_TIMM)
    assert "output = 'logits' | expected one of 'embedding', 'features', 'feature_map'" in message


def test_features_of_a_clip_are_tokens(validated, refused):
    assert validated({("output",): "features"}, TINY_CLIP).output == "features"
    assert "output = 'feature_map' | expected one of" in refused({("output",): "feature_map"}, TINY_CLIP)


def test_tokens_that_vanish_have_no_features(refused):
    message = refused({("output",): "features", ("reduction",): {"random": {"r": 3, "remove": "prune"}}}, TINY_TIMM)
    assert "a feature extractor needs every token back, and vanished ones are gone" in message


@pytest.mark.parametrize(("output", "counted"), [("logits", 7 * 24), ("embedding", 0), ("features", 0)])
def test_a_classifier_that_is_not_asked_for_is_not_counted(output, counted, tmp_path):
    assert sum(head.macs for head in account(recipe_of(tmp_path, output=output)).reduced.heads) == counted


def test_a_checkpoint_needs_no_classifier_for_features(tmp_path):
    state = timm.models.VisionTransformer(**{**SMALL, "num_classes": 0}).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    recipe = recipe_of(tmp_path, output="features", extra_outputs=("embedding",), checkpoint="w.safetensors")
    model, _ = model_from_recipe(recipe)
    assert torch.equal(model.blocks[2].mlp.fc1.weight, state["blocks.2.mlp.fc1.weight"])
    with torch.no_grad():
        assert fixed_from_model(model, recipe).trace(image_of(recipe)).prediction.isfinite().all()


TAPS = {"taps": [0, 2], "output": "features"}


@pytest.mark.parametrize("variant", ["plain", "registers", "no class token"])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("output", ["features", "feature_map", "logits"])
def test_taps_are_timms_intermediate_tokens(variant, norm, output, tmp_path):
    recipe = recipe_of(tmp_path, VARIANTS[variant], output=output, taps={"blocks": [2, 0], "norm": norm})
    model, _ = model_from_recipe(recipe)
    image, maps = image_of(recipe), output == "feature_map"
    with torch.no_grad():
        found = fixed_from_model(model, recipe).trace(image).outputs
        expected = model.forward_intermediates(
            image, indices=[0, 2], norm=norm, intermediates_only=True, return_prefix_tokens=not maps,
            output_fmt="NCHW" if maps else "NLC",
        )  # fmt: skip
    assert list(found) == [output, "tap_2", "tap_0"]
    for name, wanted in zip(("tap_0", "tap_2"), expected, strict=True):
        patches, prefix = (wanted, None) if maps or not isinstance(wanted, tuple) else wanted
        tokens = patches if prefix is None else torch.cat([prefix, patches], dim=1)
        torch.testing.assert_close(found[name], tokens, atol=1e-5, rtol=1e-4)


def test_taps_bring_back_what_had_merged_by_then(tmp_path):
    recipe = recipe_of(tmp_path, **TAPS, reduction={"tome": {"r": [4, 3, 2]}})
    model, _ = model_from_recipe(recipe)
    fixed, image = fixed_from_model(model, recipe), image_of(recipe)
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def watch(number, x, trace):
        seen[number] = (x, trace.origin)

    with torch.no_grad():
        found = fixed.trace(image, watch=watch).outputs
    x, origin = seen[1]
    assert x.shape[1] == 21 and origin.shape == (2, 25)
    for one in range(2):
        torch.testing.assert_close(found["tap_0"][one], model.norm(x[one])[origin[one].long()])
    torch.testing.assert_close(found["tap_2"], found["features"])
    for one, published in enumerate(PublishedModel(model, recipe).run([image])):
        for name in ("features", "tap_0", "tap_2"):
            torch.testing.assert_close(published.outputs[name], found[name][one], atol=1e-5, rtol=1e-4)


def test_blocks_behind_the_deepest_tap_do_not_run_where_nothing_else_is_asked_for(tmp_path):
    recipe = recipe_of(tmp_path, taps=[1, 0], output="tap_0")
    assert (recipe.extra_outputs, recipe.facts.reads, recipe.facts.executed) == (("tap_1",), (2, 1), 2)
    model, _ = model_from_recipe(recipe)
    assert list(fixed_from_model(model, recipe).walk.blocks) == ["1", "2"]
    assert len(account(recipe).reduced.blocks) == 2


def test_a_recipe_with_taps_reads_again_from_its_text(tmp_path):
    recipe = recipe_of(
        tmp_path, taps={"blocks": [1], "norm": False}, output="feature_map", extra_outputs=("embedding",)
    )
    again = recipe_from_config(recipe.text, tmp_path / "x.py")
    assert again.text == recipe.text and again.model == recipe.model
    assert again.extra_outputs == recipe.extra_outputs == ("tap_1", "embedding")


@pytest.mark.parametrize(
    ("taps", "said"),
    [
        ([2, 6], "taps[1] = 6 | no such block: the model has 6, counted from 0 | use 0 to 5"),
        ([-1], "taps[0] = -1 | no such block"),
        ([1, 1], "taps[1] = 1 | is given twice"),
        (["2"], "expected an integer"),
        (3, "expected a list"),
        ({"norm": True}, "required key 'blocks' is missing"),
        ({"blocks": [1], "nrm": True}, "did you mean 'norm'?"),
    ],
)
def test_taps_that_do_not_exist_are_refused(taps, said, refused):
    assert said in refused({("taps",): taps, ("output",): "features"}, TINY_TIMM)


def test_other_families_have_no_taps(refused):
    assert "taps are for models that give features out" in refused({("taps",): [1]})
