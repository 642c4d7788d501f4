from __future__ import annotations

import pytest
from merge_cases import SD_BLOCK, VIT_S, recipe_of, segvit_spec, tome

from edgeexport.fixed import accounting, merge_accounting
from edgeexport.fixed.tokens import tokens_json
from edgeexport.recipe.schema import MergeSpec, ModelSpec


@pytest.mark.parametrize(
    ("model", "merge"),
    [
        (segvit_spec(), tome(300, dense="tome", metric="x")),
        (VIT_S, tome(13)),
        (SD_BLOCK, tome(2048, 1, dense="sd", metric="x")),
    ],
)
def test_every_family_has_the_same_keys(model: ModelSpec, merge: MergeSpec) -> None:
    content = tokens_json(recipe_of(model, merge))
    shared = {"schema", "provenance", "convention", "image", "grid", "patches", "class_token", "sharing", "merging"}
    parts = {"embedding", "blocks", "heads", "final_norm", "tail", "policy_network", "totals"}
    assert shared | parts <= set(content)
    blocks, merging = content["blocks"], content["merging"]
    assert isinstance(blocks, list) and isinstance(merging, dict)
    assert len(blocks) == len(merging["realised"])
    assert set(blocks[0]["macs"]) == {"attention", "matching", "mlp", "norms", "total"}


def test_the_family_decides() -> None:
    segvit, classifier = recipe_of(segvit_spec()), recipe_of(VIT_S)
    assert tokens_json(segvit) == accounting.tokens_json(segvit)
    assert tokens_json(classifier) == merge_accounting.tokens_json(classifier)


def test_dense_merging_of_a_segmenter_saves_work_inside_its_blocks_alone() -> None:
    merged = accounting.account(recipe_of(segvit_spec(), tome(300, dense="tome", metric="x")))
    assert merged.reduced.heads == merged.dense.heads
    assert merged.reduced.tail == merged.dense.tail
    for block, dense in zip(merged.reduced.blocks, merged.dense.blocks, strict=True):
        assert block.matching == 512 * 512 * 768 and block.total < dense.total
    content = tokens_json(recipe_of(segvit_spec(), tome(300, dense="tome", metric="x")))
    blocks = content["blocks"]
    assert isinstance(blocks, list)
    assert {(block["tokens_in"], block["tokens_out"], block["reason"]) for block in blocks} == {
        (1024, 1024, "merged 300, unmerged after")
    }
