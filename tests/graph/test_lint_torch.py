"""The lint on what torch really exports."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from lint_cases import only
from torch import Tensor, nn

from edgeexport.graph.lint import lint_model


class _MaskedTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        keep = x.mean(-1) > 0
        return x[keep] * 2


class _CountedTokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        score = x.mean(-1)
        count = int((score > 0).sum().item())
        torch._check(count >= 1)
        torch._check(count <= score.shape[1])
        return torch.topk(score, count, dim=1).indices.int()


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(batch, tokens, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        best = torch.topk((x + out).mean(-1), 5, dim=1).indices
        return torch.gather(out, 1, best[..., None].expand(-1, -1, width))


def _exported(module: nn.Module, batch: int = 1, **options) -> onnx.ModelProto:
    example = (torch.zeros(batch, 16, 32),)
    with torch.no_grad():
        program = torch.onnx.export(module.eval(), example, dynamo=True, opset_version=20, verbose=False, **options)
    return program.model_proto


def _line_of(text: str) -> str:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (number,) = (index for index, line in enumerate(lines, 1) if line.strip() == text)
    return f"test_lint_torch.py:{number} `{text}`"


def test_boolean_mask_of_torch() -> None:
    finding = only(lint_model(_exported(_MaskedTokens())), "data-dependent-shape")
    assert finding.op_type == "NonZero"
    assert finding.source.endswith(_line_of("return x[keep] * 2"))
    assert "boolean-mask" in finding.message and "torch.topk" in finding.remedy


def test_data_dependent_k_of_torch() -> None:
    finding = only(lint_model(_exported(_CountedTokens())), "topk-constant-k")
    assert finding.op_type == "TopK"
    assert finding.source.endswith(_line_of("return torch.topk(score, count, dim=1).indices.int()"))
    assert "Python integer" in finding.remedy


def test_dynamic_batch_of_torch() -> None:
    model = _exported(_Block(), batch=2, dynamic_shapes=({0: torch.export.Dim("batch")},))
    finding = only(lint_model(model), "static-shape")
    assert (finding.node, finding.op_type) == ("x", "input")
    assert "dimension 0 ('batch') must be constant" in finding.message
    assert "--input-shape x=1,16,32" in finding.remedy


def test_static_attention_of_torch() -> None:
    report = lint_model(_exported(_Block()))
    assert report.findings == ()
    assert report.op_counts["TopK"] == 1 and report.value_count > report.node_count > 10
