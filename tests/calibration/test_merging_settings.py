"""Ways of merging and their costs: how tokens are shared out over blocks, and what fits a budget, against trying all."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.calibration.cost import MacsCost
from edgeexport.calibration.merging import calibrate_merging
from edgeexport.calibration.merging_latency import (
    MergingLatencyTable,
    MergingTableCost,
    merging_signature,
    read_merging_latency_table,
)
from edgeexport.calibration.merging_settings import MergingCosts, MergingSetting, delays_to_try, settings_to_try
from edgeexport.calibration.options import CalibrationOptions
from edgeexport.errors import UsageError
from edgeexport.fixed.schedule import token_schedule
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config

DEPTH = 5


@cache
def dense(**model: object) -> Recipe:
    config = {
        "model": {"type": "timm", "img_size": (32, 32), "patch_size": 8, "embed_dim": 24, "depth": DEPTH, "num_heads": 2,
                  "num_classes": 10, **model},
        "input": {"shape": (1, 3, 32, 32)},
    }  # fmt: skip
    return recipe_from_config(config, Path("dense.py").absolute())


SETTINGS = settings_to_try(dense().facts, (0, 1, 3))


@cache
def costs() -> MergingCosts:
    return MergingCosts(dense(), MacsCost())


@given(st.sampled_from(SETTINGS), st.integers(1, 60))
def test_tokens_are_shared_out_over_the_blocks_that_merge(setting: MergingSetting, merged: int) -> None:
    r = setting.r_of(merged, dense().facts)
    counts = [r] * (DEPTH - setting.delay) if isinstance(r, int) else list(r[setting.delay :])
    assert sum(counts) == merged and max(counts) - min(counts) <= 1 and counts == sorted(counts, reverse=True)
    assert isinstance(r, int) or (len(r) == DEPTH and not any(r[: setting.delay]))


@given(st.sampled_from(SETTINGS), st.integers(1, 60))
def test_the_account_is_that_of_the_recipe_as_the_command_line_would_load_it(
    setting: MergingSetting, merged: int
) -> None:
    schedule = token_schedule(costs().recipe(setting, merged))
    requested = [change.requested for change in schedule.changes[setting.method]]
    r = setting.r_of(merged, dense().facts)
    each = [0] * setting.delay + [r] * (DEPTH - setting.delay) if isinstance(r, int) else list(r)
    assert requested == each


@settings(deadline=None)
@given(st.sampled_from(SETTINGS), st.floats(0.2, 1.1))
def test_a_budget_is_kept_by_the_fewest_tokens_that_fit(setting: MergingSetting, share: float) -> None:
    blocks = costs().blocks(setting)
    most = blocks * costs().largest_r(setting)
    every = {merged: costs().cost(setting, merged) for merged in range(blocks, most + 1)}
    budget = share * costs().of_dense
    fitting = [merged for merged, cost in every.items() if cost is not None and cost <= budget]
    assert costs().within(setting, budget) == min(fitting, default=None)
    nearest = costs().nearest(setting, budget)
    assert nearest is not None
    assert abs(every[nearest] - budget) == min(abs(cost - budget) for cost in every.values() if cost is not None)


def test_beyond_the_largest_r_nothing_changes() -> None:
    for setting in SETTINGS:
        largest, blocks = costs().largest_r(setting), costs().blocks(setting)
        assert costs().cost(setting, largest * blocks) == costs().cost(setting, (largest + 5) * blocks)
        assert costs().cost(setting, largest * blocks) != costs().cost(setting, (largest - 1) * blocks)


def test_ways_to_try() -> None:
    names = [setting.name for setting in SETTINGS]
    assert names == [
        "tome",
        "dsm delay=0 window=4",
        "dsm delay=1 window=4",
        "dsm delay=1 window=None",
        "dsm delay=3 window=4",
        "dsm delay=3 window=None",
    ]
    assert delays_to_try(dense().facts, 4) == (0, 1, 2, 4)
    assert delays_to_try(dense().facts, None) == delays_to_try(dense().facts, 5) == (0, 1, 2)  # none is left to merge
    rotary = load_recipe("timm:vit_small_patch16_dinov3", ("model.img_size=32",)).facts
    assert [setting.name for setting in settings_to_try(rotary, (0,))][:2] == ["tome", "tome rope=mean"]


def table(tokens: tuple[int, ...] = (2, 17), **changes: object) -> MergingLatencyTable:
    """Attention 1 ms at most, MLP 2 ms, a merge .1 ms per token; in proportion to tokens."""
    parts = {
        name: tuple((n, slope * n) for n in tokens)
        for name, slope in (("attention_ms", 1 / 17), ("mlp_ms", 2 / 17), ("merge_ms", 0.1))
    }
    fields = {"provenance": "predicted", "device": "paper", "fixed_ms": 0.5, **parts, **changes}
    return MergingLatencyTable(**fields)  # type: ignore[arg-type]


def test_times_add_up_over_the_tokens_of_every_branch() -> None:
    cost = MergingTableCost(table())
    assert cost.cost(dense()) == pytest.approx(0.5 + DEPTH * 3)
    recipe = costs().recipe(MergingSetting("tome"), 2 * DEPTH)  # r = 2: 17, 15, 13, 11, 9 tokens enter, 7 are left
    entering = (17, 15, 13, 11, 9)
    expected = 0.5 + sum(n / 17 + 2 * (n - 2) / 17 + 0.1 * n for n in entering)
    assert cost.cost(recipe) == pytest.approx(expected)


def test_a_time_is_kept_and_a_table_of_another_model_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table(model=merging_signature(dense())).as_dict()))
    assert read_merging_latency_table(path).as_dict() == table(model=merging_signature(dense())).as_dict()
    recipe = tmp_path / "small.py"
    recipe.write_text(
        f"model = dict(type='timm', img_size=(32, 32), patch_size=8, embed_dim=24, depth={DEPTH}, num_heads=2, "
        "num_classes=10)\ninput = dict(shape=(1, 3, 32, 32))\n"
    )
    photos = shipped_photos()[0].parent
    options = CalibrationOptions(data=photos, out_dir=tmp_path / "o", latency_ms=15.0, latency_table=path, limit=1)
    found = calibrate_merging(recipe, options)
    # A merge takes as long here as the attention saves at first, so that late merging alone may not fit.
    assert found.chosen is not None and found.chosen.cost <= 15 and found.unit == "ms"
    assert found.costs_from == "predicted on paper" and "ms by the table" in found.statement
    assert all(item.cost <= 15 for item in found.compared) and found.dense_cost == pytest.approx(15.5)
    other = MergingTableCost(table(model={**merging_signature(dense()), "embed_dims": 32}))
    with pytest.raises(UsageError, match=r"model.embed_dims \| is 32, the recipe has 24"):
        other.cost(dense())
    with pytest.raises(UsageError, match="has 4 to 16 tokens, 17 are asked for"):
        MergingTableCost(table((4, 16))).cost(dense())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "edgeexport.latency_table/1"}, "schema"),
        ({"mlp_ms": {"7": 1.0, "07": 2.0}}, "mlp_ms | has 7 tokens twice"),
        ({"merge_ms": {}}, "merge_ms"),
        ({"fixed_ms": -1}, "fixed_ms"),
    ],
)
def test_damaged_tables(change: dict[str, object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**table().as_dict(), **change}))
    with pytest.raises(UsageError) as caught:
        read_merging_latency_table(path)
    assert words in str(caught.value)
