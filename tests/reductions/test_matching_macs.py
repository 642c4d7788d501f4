from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeexport.errors import BuildError
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.reductions.matching_macs import matching_macs


def test_without_windows_even_tokens_meet_odd_ones() -> None:
    """Prefix tokens are multiplied too, as the published code runs it."""
    for prefix in (0, 1, 2):
        assert matching_macs(MatchLayout("alternate", 197, prefix, 13), 64) == 99 * 98 * 64


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
