"""Stable Diffusion block with ToMe at 64x64 latents: half of the 4096 tokens merge around every branch.

The transformer block at the first resolution of Stable Diffusion 1.x. Tokens merge into one destination per 2x2 cell,
chosen once from fixed tables, and come back after self-attention, cross-attention and MLP each: the output is as large as
the input. A cell keeps its destination, so that at most three quarters of the tokens can merge.
"""

model = dict(
    type="sd_block",
    grid=(64, 64),
    embed_dims=320,
    num_heads=8,
    context_tokens=77,
    context_width=768,
)
input = dict(shape=(1, 64 * 64, 320))
output = "tokens"
reduction = dict(tome=dict(r=64 * 64 // 2, variant="sd"))
