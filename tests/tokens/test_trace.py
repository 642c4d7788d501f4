"""Where tokens are: permutations inverted, and rows of departed tokens brought back to their patches."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexport.tokens.trace import Departed, Trace, inverse_permutation


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3).flatmap(lambda b: st.tuples(*[st.permutations(range(9))] * b)))
def test_inverse_permutation(rows: tuple[list[int], ...]) -> None:
    order = torch.tensor(rows, dtype=torch.int32)
    inverse = inverse_permutation(order)
    assert inverse.dtype == torch.int32
    for row, found in zip(rows, inverse.tolist(), strict=True):
        assert [found[i] for i in row] == list(range(9))


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(7)), st.booleans(), st.data())
def test_every_patch_finds_the_row_of_its_token(tokens: list[int], shares: bool, data: st.DataObject) -> None:
    """Seven tokens, of which some left in two steps; the row of a token is its number."""
    first, second = sorted(data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))))
    groups = [sorted(tokens[:first]), sorted(tokens[first:second]), sorted(tokens[second:])]
    index = [torch.tensor([group], dtype=torch.int32) for group in groups]
    rows = [torch.tensor([group], dtype=torch.float32)[:, :, None] for group in groups]
    trace = Trace(alive=index[2], departed=[Departed(index[i], rows[i]) for i in (0, 1)])
    patches = list(range(7))
    if shares:
        patches = [6, 0, 0, 3, 5, 1, 2, 4, 6]
        trace.share = torch.tensor([patches], dtype=torch.int32)
    found, where = trace.brought_back(rows[2])
    assert where is not None and where.dtype == torch.int32
    assert found[0, where[0].long(), 0].tolist() == patches


def test_where_all_tokens_are_present_nothing_moves() -> None:
    rows = torch.rand(2, 5, 3)
    found, where = Trace().brought_back(rows)
    assert torch.equal(found, rows) and where is None


def test_the_prediction_is_the_first_output() -> None:
    trace = Trace(outputs={"logits": torch.ones(1), "size": torch.zeros(1)})
    assert torch.equal(trace.prediction, torch.ones(1))
