from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from edgeexport.fixed.accounting import CONVENTION, account, tokens_json
from edgeexport.fixed.model_macs import TOKENS_SCHEMA

from edgeexport.cost.macs import layer_norm_macs, vit_block_macs
from edgeexport.errors import RecipeError
from edgeexport.hosts.segvit.macs import prune_head_macs
from edgeexport.hosts.segvit.spec import BackboneSpec, HeadSpec, SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import CtsSpec, DtopSpec, Recipe, ReductionSpec, TailSpec
from edgeexport.reductions.cts_policy import policy_network_macs


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
        reduction=ReductionSpec(
            cts=CtsSpec(shared, 8, None) if shared else None,
            dtop=DtopSpec(tuple(sorted(prune.items())), 5) if prune else None,
        ),
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
    shared = replace(shared, reduction=ReductionSpec(cts=CtsSpec(103, 1, None)))
    assert account(shared).reduced.backbone / 1e9 == pytest.approx(70.64, rel=1e-3)


def test_each_block_and_head_sees_its_own_tokens() -> None:
    reduced = account(_recipe(shared=103, prune={6: 248, 8: 112})).reduced
    tokens = [712] * 6 + [464] * 2 + [352] * 4
    assert reduced.blocks == tuple(vit_block_macs(n, 768) for n in tokens)
    assert reduced.heads == tuple(prune_head_macs(n, 768, 384, 3, 150) for n in (712, 464, 352))
    assert reduced.embedding == 712 * 3 * 16 * 16 * 768
    assert (
        reduced.without_policy
        == reduced.embedding + sum(b.total for b in reduced.blocks) + sum(reduced.heads) + reduced.tail
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
    assert (content["schema"], content["provenance"], content["convention"]) == (TOKENS_SCHEMA, "computed", CONVENTION)
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


def test_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import edgeexport.fixed.accounting"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
