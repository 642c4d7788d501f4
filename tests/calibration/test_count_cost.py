"""What counts cost: multiply-accumulates as the bundle states them, milliseconds as a sum of a table's parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observation_cases import CTS_DTOP, tiny

from edgeexport.calibration.cost import CostModel, MacsCost, TableCost
from edgeexport.calibration.counts import Counts, recipe_with_counts
from edgeexport.calibration.latency_table import LatencyTable, model_signature
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import dense_recipe
from edgeexport.fixed.tokens import account, tokens_json
from edgeexport.recipe.schema import Recipe
from edgeexport.reductions.cts_policy import policy_network_macs
from edgeexport.reductions.merge_spec import MergeSpec

# One block of n tokens takes 2 + n / 16 ms, one head 1 + n / 32 ms.
LINEAR = LatencyTable(
    "measured",
    "a device",
    tuple((n, 2 + n / 16) for n in (1, 8, 40, 80)),
    tuple((n, 1 + n / 32) for n in (1, 64)),
    5.0,
    3.0,
)
COUNTS = st.tuples(st.integers(0, 16), st.integers(0, 7), st.integers(0, 7)).map(
    lambda values: Counts.of(values[0], {2: values[1], 3: values[2]})
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """64 tokens, 4 blocks, heads after blocks 2 and 3 and at the end."""
    return tiny(tmp_path_factory.mktemp("cost"), CTS_DTOP)


@given(COUNTS)
def test_macs_are_those_of_the_accounting(recipe: Recipe, counts: Counts) -> None:
    changed = recipe_with_counts(recipe, counts)
    totals = tokens_json(changed)["totals"]
    assert isinstance(totals, dict)
    assert MacsCost().cost(changed) == totals["macs"] == account(changed).reduced.total
    assert MacsCost().cost(dense_recipe(changed)) == totals["dense_macs"]
    without_policy = totals["macs"] - (policy_network_macs(128, 128) if counts.num_shared else 0)
    assert without_policy == totals["macs_without_policy"]


@given(COUNTS)
def test_a_linear_table_gives_the_sum_of_its_parts(recipe: Recipe, counts: Counts) -> None:
    (_, k2), (_, k3) = ((block, counts.pruned_after(block)) for block in (2, 3))
    n = 64 - 3 * counts.num_shared
    entering = [n, n, n - k2, n - k2 - k3]
    expected = 3.0 + sum(2 + tokens / 16 for tokens in entering) + (5.0 if counts.num_shared else 0.0)
    heads = [tokens for tokens, k in ((n, k2), (n - k2, k3)) if k] + [n - k2 - k3]
    expected += sum(1 + tokens / 32 for tokens in heads)
    changed = recipe_with_counts(recipe, counts)
    assert TableCost(LINEAR).cost(changed) == pytest.approx(expected, rel=1e-12)
    assert TableCost(LINEAR).cost(dense_recipe(changed)) == pytest.approx(3 + 4 * (2 + 4) + (1 + 2), rel=1e-12)


def test_units_and_protocol(recipe: Recipe) -> None:
    models: list[CostModel] = [MacsCost(), TableCost(LINEAR)]
    assert [model.unit for model in models] == ["MACs", "ms"]
    assert all(model.cost(recipe_with_counts(recipe, Counts())) == model.cost(dense_recipe(recipe)) for model in models)


def test_a_class_token_counts_in_blocks_and_not_in_heads(recipe: Recipe) -> None:
    backbone = replace(recipe.model.backbone, with_cls_token=True)
    with_token = replace(recipe, model=replace(recipe.model, backbone=backbone))
    assert TableCost(LINEAR).cost(dense_recipe(with_token)) == pytest.approx(
        TableCost(LINEAR).cost(dense_recipe(recipe)) + 4 / 16
    )


def test_counts_that_the_table_does_not_reach_are_refused(recipe: Recipe) -> None:
    short = replace(LINEAR, block_ms=LINEAR.block_ms[2:])
    changed = recipe_with_counts(recipe, Counts(0, ((2, 32),)))
    with pytest.raises(UsageError, match=r"block_ms \| has 40 to 80 tokens, 32 are asked for"):
        TableCost(short).cost(changed)
    assert TableCost(short).cost(dense_recipe(changed)) > 0
    with pytest.raises(UsageError, match="head_ms"):
        TableCost(replace(LINEAR, head_ms=((1, 1.0), (63, 2.0)))).cost(dense_recipe(changed))
    without_policy = TableCost(replace(LINEAR, policy_ms=None))
    assert without_policy.cost(dense_recipe(recipe)) > 0
    with pytest.raises(UsageError, match="policy_ms"):
        without_policy.cost(recipe)


def test_a_table_of_another_model_is_refused(recipe: Recipe) -> None:
    fitting = TableCost(replace(LINEAR, model=model_signature(recipe)))
    assert fitting.cost(recipe) == TableCost(LINEAR).cost(recipe)
    wider = {**model_signature(recipe), "embed_dims": 64}
    with pytest.raises(UsageError, match=r"model.embed_dims \| is 64, the recipe has 32 \| .*block-table"):
        TableCost(replace(LINEAR, model=wider)).cost(recipe)
    partial = TableCost(replace(LINEAR, model={"embed_dims": 32, "board": "any"}))
    assert partial.cost(recipe) == fitting.cost(recipe)


def test_heads_of_two_sizes_need_more_than_a_table(recipe: Recipe) -> None:
    first, second = recipe.model.auxiliary_heads
    other = replace(recipe, model=replace(recipe.model, auxiliary_heads=(replace(first, width=64), second)))
    with pytest.raises(UsageError, match=r"auxiliary_head\.0"):
        TableCost(LINEAR).cost(other)
    assert TableCost(LINEAR).cost(dense_recipe(other)) == TableCost(LINEAR).cost(dense_recipe(recipe)), (
        "the head does not run"
    )


def test_merging_needs_more_than_a_table(recipe: Recipe) -> None:
    merging = replace(recipe, reductions={"tome": MergeSpec("tome", (4, 0, 0, 0), dense="tome")})
    with pytest.raises(UsageError, match=r"reduction\.tome \| merges inside the blocks"):
        TableCost(LINEAR).cost(merging)
    assert MacsCost().cost(merging) < MacsCost().cost(dense_recipe(merging))
