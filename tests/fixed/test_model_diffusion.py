"""The fixed Stable Diffusion block: equal to the original image by image, to the plain block at r = 0, and as a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.published import PublishedImage, PublishedModel
from edgeexport.graph.export import exported_model
from edgeexport.graph.inline import inlined_model
from edgeexport.hosts.host import NO_TAIL
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops import DOMAIN, token_match, token_merge, token_unmerge
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.merge_spec import MergeSpec
from edgeexport.reductions.published_merge import merge_step_reference, unmerged_reference


def sd_recipe(r: int | None, grid: tuple[int, int] = (8, 8), batch: int = 2, **merge: object) -> Recipe:
    """Width 16, 2 heads, a text of 5 tokens of width 12; ``r`` None: no merging in the recipe."""
    spec = MergeSpec("tome", (r or 0,), proportional_attention=False, metric="x", dense="sd")
    return Recipe(
        name="small_sd",
        path=Path("small_sd.py"),
        description="",
        model=SdBlockSpec("sd_block", grid, 16, 2, 5, 12),
        checkpoint=None,
        seed=0,
        input=InputSpec(batch, *grid, None, channels=16, context=(5, 12)),
        output="tokens",
        reductions={} if r is None else {"tome": replace(spec, **merge)},
        tail=NO_TAIL,
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )


def fixed_of(recipe: Recipe) -> FixedModel:
    assert isinstance(recipe.model, SdBlockSpec)
    model = SdBlock(recipe.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return fixed_from_model(model.eval(), recipe)


def inputs_of(recipe: Recipe, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    assert recipe.input.context is not None
    context = torch.randn(recipe.input.batch, *recipe.input.context, generator=generator)
    return torch.randn(recipe.input.shape, generator=generator), context


def published(fixed: FixedModel, x: Tensor, context: Tensor) -> list[PublishedImage]:
    return PublishedModel(fixed.model, fixed.recipe).run([x, context])


def assert_same(outputs: dict[str, Tensor], original: list[PublishedImage]) -> None:
    for image, expected in enumerate(original):
        assert set(expected.outputs) == set(outputs)
        for name, value in expected.outputs.items():
            if name == "tokens":
                torch.testing.assert_close(outputs[name][image], value, atol=1e-4, rtol=1e-3)
            else:
                assert outputs[name][image].tolist() == value.tolist(), name


@pytest.mark.parametrize(("grid", "r"), [((8, 8), 32), ((4, 6), 10)])
@torch.no_grad()
def test_the_original_is_each_branch_on_the_means_of_groups(grid: tuple[int, int], r: int) -> None:
    """Written out: means of plain groups behind every norm, the branch, its rows copied back."""
    recipe = sd_recipe(r, grid)
    fixed, (x, context) = fixed_of(recipe), inputs_of(recipe)
    block = fixed.model
    assert isinstance(block, SdBlock)
    for image, found in enumerate(published(fixed, x, context)):
        tokens, text = x[image], context[image : image + 1]
        step = merge_step_reference(
            tokens, torch.ones(len(tokens)), tokens, kind="cells", prefix=0, r=r, columns=grid[1]
        )

        def reduced(normed: Tensor, groups: list[list[int]], branch: Callable[[Tensor], Tensor]) -> Tensor:
            merged = torch.stack([normed[group].mean(dim=0) for group in groups])
            return unmerged_reference(branch(merged[None])[0], groups)

        tokens = tokens + reduced(block.norm1(tokens), step.groups, lambda rows: block.attn1(rows, rows))
        tokens = tokens + reduced(block.norm2(tokens), step.groups, lambda rows, text=text: block.attn2(rows, text))
        tokens = tokens + reduced(block.norm3(tokens), step.groups, block.ff)
        torch.testing.assert_close(found.outputs["tokens"], tokens, atol=1e-5, rtol=1e-4)
        row = {token: row for row, group in enumerate(step.groups) for token in group}
        assert found.outputs["source"].tolist() == [row[token] for token in range(len(row))]
        assert found.outputs["size"][:, 0].tolist() == [len(group) for group in step.groups]
        edges = zip(found.outputs["merge_source_1"].tolist(), found.outputs["merge_target_1"].tolist(), strict=True)
        assert list(edges) == step.edges
        assert found.outputs["merge_kept_1"].tolist() == step.kept


@pytest.mark.parametrize(("grid", "r"), [((8, 8), 1), ((8, 8), 32), ((8, 8), 48), ((4, 6), 10), ((2, 2), 3)])
@torch.no_grad()
def test_equals_the_original(grid: tuple[int, int], r: int) -> None:
    """From one merge to every source merged, on square and other grids, two different images."""
    recipe = sd_recipe(r, grid)
    fixed, (x, context) = fixed_of(recipe), inputs_of(recipe)
    outputs = fixed.trace(x, context).outputs
    original = published(fixed, x, context)
    assert_same(outputs, original)
    if r > 1:
        assert original[0].outputs["source"].tolist() != original[1].outputs["source"].tolist() or grid == (2, 2)
        assert not torch.allclose(outputs["tokens"], fixed.model(x, context), atol=1e-3)


@torch.no_grad()
def test_merging_is_behind_the_norm_and_around_each_branch() -> None:
    """Two equal tokens are unharmed by their merge up to attention's weights; branches see 3 of 4 tokens."""
    fixed = fixed_of(sd_recipe(1, (2, 2), batch=1))
    seen: list[tuple[int, ...]] = []
    for branch in (fixed.model.attn1, fixed.model.attn2, fixed.model.ff):
        branch.register_forward_pre_hook(lambda _, arguments: seen.append(tuple(arguments[0].shape)))
    x, context = inputs_of(fixed.recipe)
    x[0, 3] = 2 * x[0, 0]
    trace = fixed.trace(x, context)
    assert [trace.outputs[f"merge_{kind}_1"].tolist() for kind in ("source", "target")] == [[[3]], [[0]]]
    assert seen == [(1, 3, 16)] * 3
    # Both tokens gain the same from every branch, so their difference passes through unchanged.
    torch.testing.assert_close(trace.prediction[0, 3] - trace.prediction[0, 0], x[0, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("r", [0, None])
@torch.no_grad()
def test_nothing_merged_is_the_plain_block(r: int | None) -> None:
    recipe = sd_recipe(r)
    fixed, (x, context) = fixed_of(recipe), inputs_of(recipe)
    trace = fixed.trace(x, context)
    assert fixed.output_names == list(trace.outputs) == ["tokens"]
    assert fixed.decisions == []
    assert torch.equal(fixed(x, context)[0], fixed.model(x, context))
    original = published(fixed, x, context)
    torch.testing.assert_close(torch.stack([image.outputs["tokens"] for image in original]), fixed(x, context)[0])
    assert exported(fixed).functions == []


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    fixed = fixed_of(sd_recipe(20))
    x, context = inputs_of(fixed.recipe)
    together = fixed.trace(x, context).outputs
    for image in range(2):
        alone = fixed.trace(x[image : image + 1], context[image : image + 1]).outputs
        for name, value in alone.items():
            torch.testing.assert_close(together[name][image], value[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_interface_of_fixed_models() -> None:
    fixed = fixed_of(sd_recipe(20, (8, 4)))
    assert fixed.input_names == ["hidden_states", "context"]
    assert [tuple(value.shape) for value in fixed.example_inputs()] == [(2, 32, 16), (2, 5, 12)]
    manifest = fixed.manifest
    assert manifest["grid"] == {"rows": 8, "columns": 4, "patch_size": 0}
    assert (manifest["num_shared"], manifest["prune"]) == (0, [])
    layout = {"kind": "cells", "tokens": 32, "prefix": 0, "r": 20, "columns": 4, "window": 0}
    assert manifest["merges"] == [{"block": 1, "raster": False, "dense": "sd", **layout}]
    assert fixed.decisions == ["merge_source_1", "merge_target_1", "merge_kept_1"]
    trace = fixed.trace(*inputs_of(fixed.recipe))
    outputs = trace.outputs
    assert list(outputs) == fixed.output_names == ["tokens", *fixed.decisions, "source", "size"]
    for name, value in zip(fixed.output_names, fixed(*inputs_of(fixed.recipe)), strict=True):
        assert torch.equal(value, outputs[name])
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in outputs.items()}
    assert shapes == {
        "tokens": ((2, 32, 16), torch.float32),
        "merge_source_1": ((2, 20), torch.int32),
        "merge_target_1": ((2, 20), torch.int32),
        "merge_kept_1": ((2, 4), torch.int32),
        "source": ((2, 32), torch.int32),
        "size": ((2, 12, 1), torch.float32),
    }
    destinations = [token for token in range(32) if token // 4 % 2 == 0 and token % 2 == 0]
    assert trace.evidence["merges_1"].best.isnan().nonzero()[:, 1].tolist() == destinations * 2
    assert torch.equal(trace.evidence["merges_1"].best.isnan(), trace.evidence["merges_1"].gap.isnan())


def exported(fixed: FixedModel) -> onnx.ModelProto:
    """The graph at the recipe's shape, with the bodies of the custom ops that it uses."""
    model = exported_model(fixed, fixed.example_inputs(), fixed.input_names, fixed.output_names, {})
    used = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    model.functions.extend(op.onnx_function() for op in (token_match, token_merge, token_unmerge) if op.NAME in used)
    return model


def test_the_graph_equals_the_original() -> None:
    """In ONNX Runtime, with bodies and in standard operators, on two images per batch and another batch."""
    fixed = fixed_of(sd_recipe(20))
    model = exported(fixed)
    counts = [sum(node.op_type == op.NAME for node in model.graph.node) for op in (token_match, token_merge)]
    assert counts == [1, 3]
    for form in (model, inlined_model(model)):
        session = onnxruntime.InferenceSession(form.SerializeToString(), providers=["CPUExecutionProvider"])
        for seed in (1, 2):
            x, context = inputs_of(fixed.recipe, seed)
            found = session.run(None, {"hidden_states": x.numpy(), "context": context.numpy()})
            outputs = {name: torch.from_numpy(value) for name, value in zip(fixed.output_names, found, strict=True)}
            assert_same(outputs, published(fixed, x, context))
