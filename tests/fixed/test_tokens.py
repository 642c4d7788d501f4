from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from merge_cases import SD_BLOCK, VIT_S, recipe_of, segvit_spec, tome

from edgeexport.cost.macs import layer_norm_macs, vit_block_macs
from edgeexport.errors import RecipeError
from edgeexport.fixed.tokens import TOKENS_SCHEMA, account, tokens_json
from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.segvit.macs import prune_head_macs
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts import CtsSpec
from edgeexport.reductions.cts_policy import policy_network_macs
from edgeexport.reductions.dtop import DtopSpec
from edgeexport.reductions.merge_spec import MergeSpec


def _recipe(
    width: int = 768,
    layers: int = 12,
    pixels: int = 512,
    final: str = "PruneHead",
    shared: int = 0,
    prune: dict[int, int] | None = None,
    head_width: int | None = None,
) -> Recipe:
    d = head_width or width // 2
    backbone = BackboneSpec(
        "ViT_prune", (pixels, pixels), 16, 3, width, layers, width // 64, 4.0, True, True, 1e-6, False, False,
        "bicubic", (5, 7, 11),
    )  # fmt: skip
    stages = (layers,) if final == "PruneHead" else (layers, 2 * layers // 3, layers // 2)

    def head(kind: str, at: tuple[int, ...]) -> HeadSpec:
        return HeadSpec(kind, width, d, 3, 12, 150, at, None)

    reductions: dict[str, object] = {}
    if shared:
        reductions["cts"] = CtsSpec(shared, 8, None)
    if prune:
        reductions["dtop"] = DtopSpec(tuple(sorted(prune.items())), 5)
    return Recipe(
        name="r",
        path=Path("recipes/r.py"),
        description="",
        model=SegVitSpec(
            "EncoderDecoderPrune", backbone, head(final, stages), (head("PruneHead", (6,)), head("PruneHead", (8,)))
        ),
        checkpoint=None,
        seed=0,
        input=InputSpec(1, pixels, pixels, None),
        output="class_map",
        reductions=reductions,
        tail=TailSpec("fast", 8),
        extra_outputs=(),
        classes=(),
        palette=(),
        text={},
    )


@pytest.mark.parametrize(
    ("recipe", "gmacs"),
    [
        pytest.param(_recipe(), 109.86, id="DToP base, ViT-B 512"),
        pytest.param(_recipe(final="ATMHead"), 120.88, id="SegViT ATMHead, ViT-B 512"),
        pytest.param(_recipe(1024, 24, 640, "ATMHead"), 637.87, id="SegViT ATMHead, ViT-L 640"),
    ],
)
def test_published_totals(recipe: Recipe, gmacs: float) -> None:
    accounting = account(recipe)
    assert accounting.reduced.total / 1e9 == pytest.approx(gmacs, rel=1e-3)
    assert accounting.reduced == accounting.dense
    assert accounting.ratio == accounting.ratio_without_policy == 1.0


def test_published_backbones() -> None:
    assert account(_recipe()).dense.backbone / 1e9 == pytest.approx(107.00, rel=1e-3)
    assert account(_recipe(192, head_width=192)).dense.backbone / 1e9 == pytest.approx(10.44, rel=1e-3)
    shared = _recipe(shared=103)
    shared = replace(shared, reductions={"cts": CtsSpec(103, 1, None)})
    assert account(shared).reduced.backbone / 1e9 == pytest.approx(70.64, rel=1e-3)


def test_each_block_and_head_sees_its_own_tokens() -> None:
    reduced = account(_recipe(shared=103, prune={6: 248, 8: 112})).reduced
    tokens = [712] * 6 + [464] * 2 + [352] * 4
    assert reduced.blocks == tuple(vit_block_macs(n, 768) for n in tokens)
    assert [head.macs for head in reduced.heads] == [prune_head_macs(n, 768, 384, 3, 150) for n in (712, 464, 352)]
    assert reduced.embedding == 712 * 3 * 16 * 16 * 768
    assert (
        reduced.without_policy
        == reduced.embedding
        + sum(b.total for b in reduced.blocks)
        + sum(head.macs for head in reduced.heads)
        + reduced.tail
    )


def test_policy_network_counts_only_where_tokens_are_shared() -> None:
    policy = policy_network_macs(512, 512)
    shared, pruned = account(_recipe(shared=103)), account(_recipe(prune={6: 400}))
    assert shared.reduced.total - shared.reduced.without_policy == policy
    assert shared.dense.policy == pruned.reduced.policy == 0
    assert 1 < shared.ratio < shared.ratio_without_policy
    assert shared.ratio == shared.dense.total / (shared.reduced.without_policy + policy)


def test_auxiliary_heads_run_only_where_they_prune() -> None:
    assert len(account(_recipe(prune={6: 0, 8: 100})).reduced.heads) == 2
    assert len(account(_recipe(prune={6: 1, 8: 100})).dense.heads) == 1


def test_class_token_is_in_the_blocks_and_not_in_the_head() -> None:
    recipe = _recipe()
    backbone = replace(recipe.model.backbone, with_cls_token=True, final_norm=True)
    counted = account(replace(recipe, model=replace(recipe.model, backbone=backbone))).reduced
    plain = account(recipe).reduced
    assert counted.blocks[0] == vit_block_macs(1025, 768)
    assert counted.final_norm == layer_norm_macs(1025, 768)
    assert (counted.heads, counted.embedding) == (plain.heads, plain.embedding)


def test_no_final_norm_where_the_last_block_is_not_read() -> None:
    recipe = _recipe()
    model = replace(
        recipe.model,
        backbone=replace(recipe.model.backbone, final_norm=True),
        decode_head=replace(recipe.model.decode_head, stages=(10,)),
    )
    reduced = account(replace(recipe, model=model)).reduced
    assert (reduced.final_norm, len(reduced.blocks)) == (0, 10)


def test_tokens_json() -> None:
    recipe = _recipe(shared=103, prune={6: 248, 8: 112})
    content = tokens_json(recipe)
    accounting = account(recipe)
    assert content == json.loads(json.dumps(content))
    assert (content["schema"], content["provenance"], content["convention"]) == (
        TOKENS_SCHEMA,
        "computed",
        recipe.host.convention,
    )
    assert content["sharing"] == {"windows": 256, "requested": 103, "shared": 104}
    blocks = content["blocks"]
    assert isinstance(blocks, list) and len(blocks) == 12
    assert {key: blocks[7][key] for key in ("block", "tokens_in", "tokens_out", "reason")} == {
        "block": 8,
        "tokens_in": 464,
        "tokens_out": 352,
        "reason": "pruned 112 after block 8",
    }
    heads = content["heads"]
    assert isinstance(heads, list)
    assert [head["name"] for head in heads] == ["auxiliary_head.0", "auxiliary_head.1", "decode_head"]
    totals = content["totals"]
    assert isinstance(totals, dict)
    assert totals["macs"] == accounting.reduced.total
    assert totals["dense_over_reduced"] == accounting.ratio
    for key, total in (("macs", totals["macs"]), ("dense_macs", totals["dense_macs"])):
        parts = [content[name][key] for name in ("embedding", "final_norm", "tail", "policy_network")]  # type: ignore[index]
        parts += [head[key] for head in heads]
        parts += [block["macs"]["total"] if key == "macs" else block[key] for block in blocks]
        assert sum(parts) == total


def test_tokens_json_of_a_dense_model() -> None:
    content = tokens_json(_recipe())
    assert content["sharing"] is None
    assert content["policy_network"] == {"macs": 0, "dense_macs": 0}


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"prune\[6\] = 1024 \| leaves none"):
        account(_recipe(prune={6: 1024}))


def test_a_class_token_is_no_patch_in_tokens_json() -> None:
    """A segmenter's counts are of patches; its class token is told apart."""
    recipe = _recipe(shared=103)
    backbone = replace(recipe.model.backbone, with_cls_token=True)
    content = tokens_json(replace(recipe, model=replace(recipe.model, backbone=backbone)))
    blocks, heads = content["blocks"], content["heads"]
    assert isinstance(blocks, list) and isinstance(heads, list)
    assert {(block["tokens_in"], block["tokens_out"]) for block in blocks} == {(712, 712)}
    assert (content["class_token"], content["embedding"]["tokens"], heads[0]["tokens"]) == (True, 712, 712)  # type: ignore[index]


@pytest.mark.parametrize(
    ("model", "merge"),
    [
        (segvit_spec(), tome(300, dense="tome", metric="x")),
        (VIT_S, tome(13)),
        (SD_BLOCK, tome(2048, 1, dense="sd", metric="x")),
    ],
)
def test_every_family_has_the_same_keys(model: object, merge: MergeSpec) -> None:
    content = tokens_json(recipe_of(model, merge))
    shared = {"schema", "provenance", "convention", "image", "grid", "patches", "class_token", "sharing", "merging"}
    parts = {"embedding", "blocks", "heads", "final_norm", "tail", "policy_network", "totals"}
    assert shared | parts <= set(content)
    blocks, merging = content["blocks"], content["merging"]
    assert isinstance(blocks, list) and isinstance(merging, dict)
    assert len(blocks) == len(merging["realised"])
    assert set(blocks[0]["macs"]) == {"attention", "matching", "mlp", "norms", "total"}
    assert content["convention"] == recipe_of(model).host.convention


def test_dense_merging_of_a_segmenter_saves_work_inside_its_blocks_alone() -> None:
    merged = account(recipe_of(segvit_spec(), tome(300, dense="tome", metric="x")))
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
