"""Attention: the form that is exported equals the eager one, and both equal torch's own."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgeexport.graph.export import exported_model
from edgeexport.tokens.attention import CrossAttention, SelfAttention, attend, split_heads


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


def test_split_heads() -> None:
    x = torch.arange(24.0).reshape(1, 2, 12)
    found = split_heads(x, 3)
    assert found.shape == (1, 3, 2, 4)
    assert found[0, 1, 1].tolist() == [16.0, 17.0, 18.0, 19.0]


@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (3, 11), (1, 1)])
def test_export_form_equals_eager_form(monkeypatch: pytest.MonkeyPatch, queries: int, keys: int) -> None:
    generator = torch.Generator().manual_seed(queries)
    query, key, value = (torch.randn(2, 4, n, 8, generator=generator) for n in (queries, keys, keys))
    eager = attend(query, key, value)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    exported = attend(query, key, value)
    assert eager.shape == exported.shape == (2, queries, 32)
    torch.testing.assert_close(exported, eager, atol=1e-5, rtol=1e-5)
    manual = torch.einsum("bhmd,bhnd->bhmn", query, key).div(8**0.5).softmax(dim=-1)
    expected = torch.einsum("bhmn,bhnd->bmhd", manual, value).flatten(2)
    torch.testing.assert_close(exported, expected, atol=1e-5, rtol=1e-5)


def test_exported_graph_scales_the_query_before_the_first_product() -> None:
    """What TensorRT fuses: no scaling between the product and the softmax."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = SelfAttention(32, 2)

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.attention(x),)

    block, x = drawn(Block()), torch.randn(2, 6, 32)
    model = exported_model(block, (torch.zeros_like(x),), ["x"], ["y"], {})
    by_output = {output: node for node in model.graph.node for output in node.output}
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    scores = by_output[softmax.input[0]]
    assert scores.op_type == "MatMul"
    scaled = [by_output[name].op_type for name in scores.input]
    assert scaled[0] == "Mul" and scaled[1] == "Transpose"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, block(x)[0].numpy(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_equals_torch(bias: bool) -> None:
    ours = drawn(SelfAttention(24, 3, bias))
    theirs = nn.MultiheadAttention(24, 3, bias=True, batch_first=True).eval()
    state = ours.state_dict()
    state.setdefault("in_proj_bias", torch.zeros(72))
    theirs.load_state_dict(state)
    x = torch.randn(2, 5, 24)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x, x, x)[0], atol=1e-5, rtol=1e-4)


def test_cross_attention_masks_are_the_logits_averaged_over_heads() -> None:
    attention = drawn(CrossAttention(24, 3))
    queries, tokens = torch.randn(2, 4, 24), torch.randn(2, 9, 24)
    with torch.no_grad():
        mixed, masks = attention(queries, tokens)
        q, k, v = (
            split_heads(f(x), 3)
            for f, x in zip((attention.q, attention.k, attention.v), (queries, tokens, tokens), strict=True)
        )
        logits = torch.einsum("bhmd,bhnd->bhmn", q, k) / 8**0.5
        torch.testing.assert_close(masks, logits.mean(dim=1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mixed, attention.proj(attend(q, k, v)), atol=1e-5, rtol=1e-4)
    assert masks.shape == (2, 4, 9)


def test_cross_attention_broadcasts_queries_that_are_weights() -> None:
    attention = drawn(CrossAttention(24, 3))
    queries, tokens = torch.randn(1, 4, 24), torch.randn(2, 9, 24)
    with torch.no_grad():
        mixed, masks = attention(queries, tokens)
        repeated = attention(queries.expand(2, -1, -1), tokens)
    torch.testing.assert_close(mixed, repeated[0])
    torch.testing.assert_close(masks, repeated[1])
