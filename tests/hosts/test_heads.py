"""Attention-to-mask heads: shapes, scores against their formulas, and the decoder against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from small_models import small_head
from torch import nn
from torch.nn import functional as F

from edgeexport.hosts.segvit.heads import AtmHead, DecoderLayer, PruneHead, head_from_spec


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("tokens", [1, 16])
def test_prune_head_shapes(batch: int, tokens: int) -> None:
    head = drawn(head_from_spec(small_head(4)))
    assert isinstance(head, PruneHead)
    with torch.no_grad():
        class_logits, masks = head(torch.randn(batch, tokens, 32))
    assert class_logits.shape == (batch, 5, 2)
    assert masks.shape == (batch, 5, tokens)


@pytest.mark.parametrize("batch", [1, 3])
def test_atm_head_shapes(batch: int) -> None:
    head = drawn(head_from_spec(small_head(4, 3, 2, type="ATMHead")))
    assert isinstance(head, AtmHead)
    with torch.no_grad():
        class_logits, masks = head([torch.randn(batch, 16, 32) for _ in range(3)])
        scores = AtmHead.image_scores(class_logits, masks, (2, 8), (10, 40))
    assert class_logits.shape == (batch, 5, 6)
    assert masks.shape == (batch, 5, 16)
    assert scores.shape == (batch, 5, 10, 40)


@pytest.mark.parametrize("kind", ["PruneHead", "ATMHead"])
def test_images_of_a_batch_do_not_mix(kind: str) -> None:
    spec = small_head(4) if kind == "PruneHead" else small_head(4, 3, 2, type="ATMHead")
    head, stages = drawn(head_from_spec(spec)), [torch.randn(2, 9, 32) for _ in range(3)]
    with torch.no_grad():
        together = head(stages[0]) if kind == "PruneHead" else head(stages)
        for image in range(2):
            alone = [stage[image : image + 1] for stage in stages]
            found = head(alone[0]) if kind == "PruneHead" else head(alone)
            for a, b in zip(found, together, strict=True):
                torch.testing.assert_close(a[0], b[image], atol=1e-5, rtol=1e-4)


def test_prune_head_scores_are_presence_times_mask() -> None:
    class_logits, masks = torch.randn(2, 4, 2), torch.randn(2, 4, 7)
    scores = PruneHead.token_scores(class_logits, masks)
    assert scores.shape == (2, 4, 7)
    presence = class_logits[1, 2].exp()[0] / class_logits[1, 2].exp().sum()
    torch.testing.assert_close(scores[1, 2, 5], presence * masks[1, 2, 5].sigmoid())
    assert ((scores > 0) & (scores < 1)).all()


def test_atm_scores_resize_logits_before_the_sigmoid_and_leave_out_no_object() -> None:
    class_logits, masks = torch.randn(2, 4, 5) * 3, torch.randn(2, 4, 6) * 5
    found = AtmHead.image_scores(class_logits, masks, (2, 3), (8, 12))
    resized = F.interpolate(masks.unflatten(2, (2, 3)), size=(8, 12), mode="bilinear", align_corners=False)
    weights = class_logits.softmax(dim=-1)[..., :-1]
    expected = torch.einsum("bqc,bqhw->bchw", weights, resized.sigmoid())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    token_scores = torch.einsum("bqc,bqn->bcn", weights, masks.sigmoid()).unflatten(2, (2, 3))
    other = F.interpolate(token_scores, size=(8, 12), mode="bilinear", align_corners=False)
    assert (found - other).abs().max() > 0.05  # another computation, as semantics says


def test_atm_head_chains_queries_and_sums_masks_deepest_first() -> None:
    head, stages = drawn(head_from_spec(small_head(4, 2, type="ATMHead"))), [torch.randn(1, 9, 32) for _ in range(2)]
    with torch.no_grad():
        class_logits, masks = head(stages)
        queries = head.q.weight[None]
        queries, first = head.decoder_1(queries, head.proj_norm_1(head.input_proj_1(stages[0])))
        queries, second = head.decoder_2(queries, head.proj_norm_2(head.input_proj_2(stages[1])))
        torch.testing.assert_close(masks, first + second)
        torch.testing.assert_close(class_logits, head.class_embed(queries))
        assert not torch.allclose(head(stages[::-1])[1], masks)


def test_masks_are_those_of_the_last_layer() -> None:
    head, tokens = drawn(head_from_spec(small_head(4))), torch.randn(1, 9, 32)
    with torch.no_grad():
        lateral = head.proj_norm(head.input_proj(tokens))
        queries, first = head.decoder.layers[0](head.q.weight[None], lateral)
        _, last = head.decoder.layers[1](queries, lateral)
        _, masks = head(tokens)
    assert torch.equal(masks, last) and not torch.allclose(masks, first)


def test_decoder_layer_is_post_norm() -> None:
    """Against torch's decoder layer, which is post-norm with ReLU too; its cross-attention gets our weights."""
    ours = drawn(DecoderLayer(24, 3))
    theirs = nn.TransformerDecoderLayer(24, 3, dim_feedforward=96, dropout=0.0, batch_first=True).eval()
    state = {key: value for key, value in ours.state_dict().items() if not key.startswith("multihead_attn.")}
    cross = ours.multihead_attn
    state["multihead_attn.in_proj_weight"] = torch.cat([cross.q.weight, cross.k.weight, cross.v.weight])
    state["multihead_attn.in_proj_bias"] = torch.cat([cross.q.bias, cross.k.bias, cross.v.bias])
    state["multihead_attn.out_proj.weight"], state["multihead_attn.out_proj.bias"] = cross.proj.weight, cross.proj.bias
    theirs.load_state_dict(state)
    queries, tokens = torch.randn(2, 5, 24), torch.randn(2, 9, 24)
    with torch.no_grad():
        found, _ = ours(queries, tokens)
        torch.testing.assert_close(found, theirs(queries, tokens), atol=1e-4, rtol=1e-4)


def test_keys_are_those_of_the_published_heads() -> None:
    prune = set(PruneHead(small_head(4)).state_dict())
    assert {"q.weight", "input_proj.weight", "proj_norm.weight", "class_embed.bias"} <= prune
    assert {"decoder.layers.1.self_attn.in_proj_weight", "decoder.layers.1.multihead_attn.q.weight"} <= prune
    atm = set(AtmHead(small_head(4, 3, 2, type="ATMHead")).state_dict())
    assert {"input_proj_3.weight", "proj_norm_3.bias", "decoder_3.layers.0.linear1.weight", "q.weight"} <= atm
