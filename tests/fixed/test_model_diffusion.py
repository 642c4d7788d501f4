"""The fixed Stable Diffusion block: equal to the original image by image, to the plain block at r = 0, and as a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from edgeexport.fixed.adaptive_sd_block import AdaptiveSdBlock, AdaptiveSdImage
from edgeexport.fixed.fixed_sd_block import FixedSdBlock
from torch import Tensor

from edgeexport.errors import BuildError
from edgeexport.graph.export import exported_model
from edgeexport.graph.inline import inlined_model
from edgeexport.hosts.sd_block.block import SdBlock
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops import DOMAIN, token_match, token_merge, token_unmerge
from edgeexport.recipe.schema import MergeSpec, Recipe, ReductionSpec, TailSpec


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
        reduction=ReductionSpec(merge=None if r is None else replace(spec, **merge)),
        tail=TailSpec("plain", 1),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )


def fixed_of(recipe: Recipe) -> FixedSdBlock:
    assert isinstance(recipe.model, SdBlockSpec)
    model = SdBlock(recipe.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return FixedSdBlock(model.eval(), recipe).eval()


def inputs_of(recipe: Recipe, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    assert recipe.input.context is not None
    context = torch.randn(recipe.input.batch, *recipe.input.context, generator=generator)
    return torch.randn(recipe.input.shape, generator=generator), context


def assert_same(outputs: dict[str, Tensor], original: list[AdaptiveSdImage]) -> None:
    for image, expected in enumerate(original):
        pairs = zip(outputs["merge_source_1"][image].tolist(), outputs["merge_target_1"][image].tolist(), strict=True)
        assert list(pairs) == expected.edges
        assert outputs["merge_kept_1"][image].tolist() == expected.kept
        row = {token: row for row, group in enumerate(expected.groups) for token in group}
        assert outputs["source"][image].tolist() == [row[token] for token in range(len(row))]
        assert outputs["size"][image, :, 0].tolist() == [len(group) for group in expected.groups]
        torch.testing.assert_close(outputs["tokens"][image], expected.tokens, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("grid", "r"), [((8, 8), 1), ((8, 8), 32), ((8, 8), 48), ((4, 6), 10), ((2, 2), 3)])
@torch.no_grad()
def test_equals_the_original(grid: tuple[int, int], r: int) -> None:
    """From one merge to every source merged, on square and other grids, two different images."""
    recipe = sd_recipe(r, grid)
    fixed, (x, context) = fixed_of(recipe), inputs_of(recipe)
    outputs = fixed.outputs_of(fixed.trace(x, context))
    original = AdaptiveSdBlock(fixed.model, r).run(x, context)
    assert_same(outputs, original)
    if r > 1:
        assert original[0].groups != original[1].groups or grid == (2, 2)
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
    assert (trace.source[1].tolist(), trace.target[1].tolist()) == ([[3]], [[0]])
    assert seen == [(1, 3, 16)] * 3
    # Both tokens gain the same from every branch, so their difference passes through unchanged.
    assert trace.prediction is not None
    torch.testing.assert_close(trace.prediction[0, 3] - trace.prediction[0, 0], x[0, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("r", [0, None])
@torch.no_grad()
def test_nothing_merged_is_the_plain_block(r: int | None) -> None:
    recipe = sd_recipe(r)
    fixed, (x, context) = fixed_of(recipe), inputs_of(recipe)
    trace = fixed.trace(x, context)
    assert fixed.output_names == list(fixed.outputs_of(trace)) == ["tokens"]
    assert fixed.decisions == []
    assert torch.equal(fixed(x, context)[0], fixed.model(x, context))
    original = AdaptiveSdBlock(fixed.model, 0).run(x, context)
    torch.testing.assert_close(torch.stack([image.tokens for image in original]), fixed(x, context)[0])
    assert exported(fixed).functions == []


@torch.no_grad()
def test_a_batch_equals_its_images_one_by_one() -> None:
    fixed = fixed_of(sd_recipe(20))
    x, context = inputs_of(fixed.recipe)
    together = fixed.outputs_of(fixed.trace(x, context))
    for image in range(2):
        alone = fixed.outputs_of(fixed.trace(x[image : image + 1], context[image : image + 1]))
        for name, value in alone.items():
            torch.testing.assert_close(together[name][image], value[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_interface_of_fixed_models() -> None:
    fixed = fixed_of(sd_recipe(20, (8, 4)))
    assert fixed.input_names == ["hidden_states", "context"]
    assert [tuple(value.shape) for value in fixed.example_inputs()] == [(2, 32, 16), (2, 5, 12)]
    assert (fixed.grid, fixed.patch_size, fixed.num_shared, fixed.prune) == ((8, 4), 0, 0, {})
    assert fixed.decisions == ["merge_source_1", "merge_target_1", "merge_kept_1"]
    trace = fixed.trace(*inputs_of(fixed.recipe))
    outputs = fixed.outputs_of(trace)
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
    assert trace.best[1].isnan().nonzero()[:, 1].tolist() == destinations * 2
    assert torch.equal(trace.best[1].isnan(), trace.gap[1].isnan())


def test_the_original_refuses_too_many() -> None:
    recipe = sd_recipe(None, (2, 2))
    with pytest.raises(BuildError, match="r = 4 with 4 tokens; at most 3"):
        AdaptiveSdBlock(fixed_of(recipe).model, 4).run(*inputs_of(recipe))


def exported(fixed: FixedSdBlock) -> onnx.ModelProto:
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
            assert_same(outputs, AdaptiveSdBlock(fixed.model, 20).run(x, context))
