"""Work of one block of each family, from the tokens that its branches run on."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from merge_cases import SD_BLOCK, VIT_S, segvit_spec

from edgeexport.cost.macs import vit_block_macs
from edgeexport.hosts import HOSTS
from edgeexport.tokens.changes import BranchTokens


def whole(tokens: int, branches: int = 2) -> tuple[BranchTokens, ...]:
    return (BranchTokens(tokens, tokens),) * branches


def test_on_all_tokens_it_is_the_plain_block() -> None:
    timm = HOSTS["timm"]
    assert timm.block_macs(VIT_S, whole(197)) == vit_block_macs(197, 384)
    assert timm.block_macs(replace(VIT_S, mlp_hidden=1000), whole(197)) == vit_block_macs(197, 384, 1000)
    assert HOSTS["EncoderDecoderPrune"].block_macs(segvit_spec(), whole(1024)) == vit_block_macs(1024, 768)


@given(norm=st.integers(1, 300), work=st.integers(1, 300), mlp_norm=st.integers(1, 300), mlp=st.integers(1, 300))
def test_branches_are_counted_by_their_own_tokens(norm: int, work: int, mlp_norm: int, mlp: int) -> None:
    c = 384
    found = HOSTS["timm"].block_macs(VIT_S, (BranchTokens(norm, work), BranchTokens(mlp_norm, mlp)))
    assert found.attention == 4 * work * c**2 + 2 * work**2 * c
    assert (found.mlp, found.norms, found.matching) == (8 * mlp * c**2, 5 * (norm + mlp_norm) * c, 0)


@given(n=st.integers(1, 4096), own=st.integers(1, 4096), cross=st.integers(1, 4096), gated=st.integers(1, 4096))
def test_diffusion_block_formula(n: int, own: int, cross: int, gated: int) -> None:
    """Self-attention, attention to 77 text tokens of width 768, a gated MLP; norms run ahead of any merge."""
    c, text = 320, 77
    branches = tuple(BranchTokens(n, work) for work in (own, cross, gated))
    found = HOSTS["sd_block"].block_macs(SD_BLOCK, branches)
    attention = 4 * own * c**2 + 2 * own**2 * c + 2 * cross * c**2 + 2 * text * 768 * c + 2 * cross * text * c
    assert (found.attention, found.mlp, found.norms) == (attention, 12 * gated * c**2, 15 * n * c)
