"""The accounting of merging against what exported graphs contain."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exports models")
pytest.importorskip("timm", reason="exports timm hosts")

_HOST = "model = dict(type='timm', img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=10)\n"
_LATENT = (
    "model = dict(type='sd_block', grid=(8, 8), embed_dims=32, num_heads=2, context_tokens=7, context_width=24)\n"
    "input = dict(shape=(1, 64, 32))\noutput = 'tokens'\nreduction = dict(tome=dict(r=40, variant='sd'))\n"
)


@pytest.mark.parametrize(
    ("text", "merges"),
    [
        (_HOST + "reduction = dict(dsm=dict(r=9, delay=0, window=4, growth=4))\n", 1),
        (_LATENT, 3),
    ],
    ids=["dsm", "sd"],
)
def test_products_and_norms(tmp_path: Path, text: str, merges: int) -> None:
    """What differs is known: the graph merges by a product with a one-hot matrix, and matches no prefix tokens.

    Args:
        merges: How often a block merges.
    """
    from edgeexport.commands.build import exported_graphs
    from edgeexport.fixed.model import fixed_from_model
    from edgeexport.fixed.tokens import account
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.graph.macs import graph_macs
    from edgeexport.ops.match_tables import tables_from_layout
    from edgeexport.recipe import load_recipe
    from edgeexport.reductions.matching_macs import matching_macs

    file = tmp_path / "tiny.py"
    file.write_text(text if "input" in text else text + "input = dict(shape=(1, 3, 64, 64))\noutput = 'logits'\n")
    recipe = load_recipe(file)
    model, origin = model_from_recipe(recipe)
    graph = graph_macs(exported_graphs(fixed_from_model(model, recipe), origin).plain)
    counted = account(recipe).reduced

    norms = counted.final_norm + sum(block.norms for block in counted.blocks)
    assert graph.of_category("norm") == norms
    width = recipe.model.embed_dims
    expected = counted.total - norms
    (steps,) = counted.schedule.changes.values()
    for step, block in zip(steps, counted.blocks, strict=True):
        if step.layout is None:
            continue
        tables = tables_from_layout(step.layout)
        expected += merges * len(tables.destination_tokens) * step.r * width
        # Of each window as many pairs as the largest has: smaller ones are padded.
        pairs = len(tables.sources) // tables.windows * len(tables.destinations)
        compared = width if recipe.output == "tokens" else width // 3
        expected += pairs * compared - matching_macs(step.layout, compared)
        assert block.matching == matching_macs(step.layout, compared)
    assert graph.of_category("product") == expected
