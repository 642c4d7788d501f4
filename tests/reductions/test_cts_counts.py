from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexport.reductions.cts_counts import aligned_num_shared, aligned_window_counts

WINDOWS = st.integers(1, 300)
ALIGN = st.integers(1, 70)


def test_the_published_case():
    assert aligned_num_shared(1024, 256, 103, 8) == 104
    assert aligned_num_shared(1024, 256, 103, 1) == 103
    assert aligned_num_shared(1024, 256, 104, 8) == 104


@given(windows=WINDOWS, align=ALIGN, extra=st.integers(0, 40))
def test_counts_are_all_that_fit(windows, align, extra):
    patches = 4 * windows + extra
    brute = [shared for shared in range(1, windows + 1) if (patches - 3 * shared) % align == 0]
    assert list(aligned_window_counts(patches, windows, align)) == brute


@given(windows=WINDOWS, align=ALIGN, data=st.data())
def test_the_smallest_count_that_fits_is_chosen(windows, align, data):
    patches, shared = 4 * windows, data.draw(st.integers(0, windows))
    brute = [count for count in range(shared, windows + 1) if (patches - 3 * count) % align == 0]
    if shared == 0:
        assert aligned_num_shared(patches, windows, 0, align) == 0
    elif brute:
        assert aligned_num_shared(patches, windows, shared, align) == brute[0]
    else:
        with pytest.raises(ValueError, match=f"never leaves a multiple of {align} tokens"):
            aligned_num_shared(patches, windows, shared, align)


@given(windows=WINDOWS, align=ALIGN)
def test_sharing_nothing_ignores_the_alignment(windows, align):
    assert aligned_num_shared(4 * windows, windows, 0, align) == 0


@pytest.mark.parametrize("shared", [-1, 257])
def test_counts_out_of_range_are_refused(shared):
    with pytest.raises(ValueError, match="the image has 256 windows"):
        aligned_num_shared(1024, 256, shared, 8)


@pytest.mark.parametrize("align", [0, -8])
def test_an_alignment_below_one_is_refused(align):
    with pytest.raises(ValueError, match="align_tokens must be at least 1"):
        aligned_num_shared(1024, 256, 103, align)


def test_the_message_names_the_nearest_count_that_fits():
    with pytest.raises(ValueError, match=r"the largest that does is 8$"):
        aligned_num_shared(64, 16, 15, 10)
    with pytest.raises(ValueError, match=r"no number of windows does$"):
        aligned_num_shared(64, 16, 15, 64)
