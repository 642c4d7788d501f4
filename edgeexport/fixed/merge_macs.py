"""Multiply-accumulates of blocks in which tokens merge, as exact integers per image.

Convention as in `edgeexport.cost.macs`. n tokens of width C enter, m = n - r are left after merging; the mean of merged
tokens and unmerging by copying count nothing. A block that merges nothing is the plain block: it matches nothing either.
Imports no torch.
"""

from __future__ import annotations

from edgeexport.cost.macs import BlockMacs, layer_norm_macs, vit_block_macs
from edgeexport.fixed.merge_schedule import MergeStep
from edgeexport.hosts.sd_block.spec import SdBlockSpec
from edgeexport.ops.match_tables import MatchLayout, tables_from_layout
from edgeexport.recipe.schema import MergeSpec

__all__ = ["matching_macs", "merge_block_macs", "sd_block_macs"]


def merge_block_macs(step: MergeStep, merge: MergeSpec | None, width: int, hidden: int, num_heads: int) -> BlockMacs:
    """Pre-norm ViT block with an MLP of ``hidden`` channels that merges as ``step`` says.

    - Between attention and MLP (ToMe, DSM): ``4 n C^2 + 2 n^2 C + 5 n C``, the matching, and at ``hidden`` = 4 C
      ``8 m C^2 + 5 m C``.
    - At the start of the block, and unmerged at its end (``dense`` = 'tome'): the plain block on m tokens, and the
      matching of all n.
    - Around each residual branch (``dense`` = 'sd'): the same with both norms on n tokens.

    Matching compares vectors of a head's width, or of width C where the metric is the tokens themselves.
    """
    n, m = step.tokens_in, step.merged_tokens
    if step.layout is None or merge is None:
        return vit_block_macs(n, width, hidden)
    attending, norm_tokens = {None: (n, n + m), "tome": (m, 2 * m), "sd": (m, 2 * n)}[merge.dense]
    return BlockMacs(
        attention=vit_block_macs(attending, width, hidden).attention,
        mlp=vit_block_macs(m, width, hidden).mlp,
        norms=layer_norm_macs(norm_tokens, width),
        matching=matching_macs(step.layout, width if merge.metric == "x" else width // num_heads),
    )


def sd_block_macs(step: MergeStep, spec: SdBlockSpec) -> BlockMacs:
    """Transformer block of Stable Diffusion, merged around each of its three residual branches.

    Self-attention and cross-attention to T text tokens of width D are ``attention``: ``4 m C^2 + 2 m^2 C`` and
    ``2 m C^2 + 2 T D C + 2 m T C``. The gated MLP of 4 C channels takes ``12 m C^2``. Norms run on all n tokens; matching
    is on the block's input, so at width C.
    """
    n, m, width, text = step.tokens_in, step.merged_tokens, spec.embed_dims, spec.context_tokens
    self_attention = 4 * m * width**2 + 2 * m**2 * width
    cross_attention = 2 * m * width**2 + 2 * text * spec.context_width * width + 2 * m * text * width
    return BlockMacs(
        attention=self_attention + cross_attention,
        mlp=12 * m * width**2,
        norms=3 * layer_norm_macs(n, width),
        matching=matching_macs(step.layout, width) if step.layout is not None else 0,
    )


def matching_macs(layout: MatchLayout, width: int) -> int:
    """Similarity of every source with every destination that it may merge into, on vectors of ``width``.

    Without windows ``ceil(n / 2) floor(n / 2)`` pairs, as the published code runs it: prefix tokens are multiplied too and
    masked afterwards. With windows the pairs of each window; padding is not counted.
    """
    if layout.kind == "alternate":
        return (layout.tokens // 2) * ((layout.tokens + 1) // 2) * width
    tables = tables_from_layout(layout)
    sources, destinations = (_window_counts(tokens, tables.windows) for tokens in (tables.sources, tables.destinations))
    return sum(a * b for a, b in zip(sources, destinations, strict=True)) * width


def _window_counts(tokens: tuple[int, ...], windows: int) -> list[int]:
    """Tokens of each window; -1 is padding."""
    each = len(tokens) // windows
    return [sum(token >= 0 for token in tokens[number * each : (number + 1) * each]) for number in range(windows)]
