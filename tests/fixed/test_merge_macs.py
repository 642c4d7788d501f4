from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import tome

from edgeexport.cost.macs import vit_block_macs
from edgeexport.errors import BuildError
from edgeexport.fixed.merge_macs import matching_macs, merge_block_macs
from edgeexport.fixed.merge_schedule import MergeStep
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout


def _step(n: int, r: int, dense: bool = False) -> MergeStep:
    layout = MatchLayout("alternate", n, 1, r) if r else None
    return MergeStep(1, n, r, r, n if dense else n - r, layout, False)


@given(n=st.integers(3, 400), data=st.data(), heads=st.integers(1, 6))
def test_tome_block_formula(n: int, data: st.DataObject, heads: int) -> None:
    """The formula that the published tables follow."""
    r, head_width = data.draw(st.integers(1, (n - 1) // 2)), 8
    c = heads * head_width
    attention = 4 * n * c**2 + 2 * n**2 * c + 5 * n * c + -(-n // 2) * (n // 2) * head_width
    mlp = 8 * (n - r) * c**2 + 5 * (n - r) * c
    assert merge_block_macs(_step(n, r), tome(r), c, 4 * c, heads).total == attention + mlp


def test_nothing_merged_is_the_plain_block() -> None:
    assert merge_block_macs(_step(197, 0), tome(0), 384, 1536, 6) == vit_block_macs(197, 384)
    assert merge_block_macs(_step(197, 0), None, 384, 1000, 6) == vit_block_macs(197, 384, 1000)


def test_matching_on_the_tokens_is_as_wide_as_they_are() -> None:
    narrow, wide = (merge_block_macs(_step(197, 13), tome(13, metric=name), 384, 1536, 6) for name in ("k", "x"))
    assert wide.matching == 6 * narrow.matching
    assert replace(wide, matching=0) == replace(narrow, matching=0)


@pytest.mark.parametrize(("variant", "norm_tokens"), [("tome", 2 * 724), ("sd", 2 * 1024)])
def test_dense_blocks_work_on_merged_tokens(variant: str, norm_tokens: int) -> None:
    merge = tome(300, dense=variant, metric="x")
    found = merge_block_macs(_step(1024, 300, dense=True), merge, 768, 3072, 12)
    plain = vit_block_macs(724, 768)
    assert (found.attention, found.mlp) == (plain.attention, plain.mlp)
    assert found.norms == 5 * norm_tokens * 768
    assert found.matching == 512 * 512 * 768


@given(columns=st.integers(2, 12), patches=st.integers(2, 120), window=st.integers(2, 6), prefix=st.integers(0, 2))
def test_windowed_matching_counts_the_pairs_of_each_window(
    columns: int, patches: int, window: int, prefix: int
) -> None:
    """Every pair of a source and a destination whose cells lie in the same window, counted one by one."""
    try:
        layout = MatchLayout("windows", prefix + patches, prefix, 1, columns, window)
        tables = tables_from_layout(layout)
    except BuildError:  # no window holds two tokens
        return
    place = [
        (token - prefix) // columns // window * 1000 + (token - prefix) % columns // window
        for token in range(prefix + patches)
    ]
    sources = [token for token in tables.sources if token >= 0]
    pairs = sum(place[a] == place[b] for a in sources for b in tables.destination_tokens)
    assert matching_macs(layout, 5) == 5 * pairs


def test_matching_in_cells() -> None:
    assert matching_macs(MatchLayout("cells", 64, 0, 10, 8), 7) == 48 * 16 * 7
