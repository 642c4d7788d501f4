"""The class-map tail alone: `UpsampleArgmax` against Resize + ArgMax, in ONNX Runtime on the CPU.

Scores are float32 (1, 150, 32, 32), the map is 512 x 512 pixels, two threads in one pool shared by all sessions (two
spinning pools on two cores would slow each other down). Every round runs every form once, in rotated order; a speed-up
is the median over rounds of the ratio within a round. Run with ``python -m benchmarks tail``.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial

import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, parser

from benchmarks.pairing import THREADS, latencies_ms, session_options
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.upsample_argmax import ATTRIBUTES, NAME, candidates_needed, onnx_function

__all__ = ["measure", "smooth_scores"]

CLASSES, GRID, PIXELS = 150, 32, 512
CANDIDATES = (8, 16, 32)
_IR_VERSION = 10


@dataclass(frozen=True)
class Tail:
    """One form of the tail: ``counted`` when it also outputs the number of uncertified pixels."""

    name: str
    model: onnx.ModelProto
    counted: bool


def smooth_scores(seed: int, present: int) -> torch.Tensor:
    """Scores as peaked as trained ones: float32 (1, 150, 32, 32), in [0, 1].

    Each class has a smooth mask with steep borders, sigmoid of bicubically upsampled noise; ``present`` classes have a
    class probability of 0.8 to 1, all others one below 0.02, as PruneHead's product of both gives.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, CLASSES, 6, 6, generator=generator)
    mask = torch.sigmoid(F.interpolate(coarse, (GRID, GRID), mode="bicubic") * 8 - 4)
    probability = 0.02 * torch.rand(1, CLASSES, 1, 1, generator=generator)
    chosen = torch.randperm(CLASSES, generator=generator)[:present]
    probability[:, chosen] = 0.8 + 0.2 * torch.rand(1, present, 1, 1, generator=generator)
    return probability * mask


def measure(rounds: int = 25, warmup: int = 3) -> dict[str, object]:
    """Times all forms and checks their maps.

    Returns:
        ``latency_ms`` (median) and ``speedup`` (over Resize + ArgMax) per form; ``scores``: per set of scores the
        candidates that certify every pixel, and per form the pixels that differ from Resize + ArgMax and, where the
        form counts them, the uncertified ones.
    """
    tails = _tails()
    sessions = {tail.name: _session(tail.model) for tail in tails}
    sets = {f"{present} classes present": smooth_scores(seed, present) for seed, present in ((0, 8), (1, 16), (2, 30))}
    feed = {"scores": next(iter(sets.values())).numpy()}
    latency_ms = latencies_ms({name: partial(item.run, None, feed) for name, item in sessions.items()}, rounds, warmup)
    base = latency_ms[tails[0].name]
    return {
        "protocol": f"measured: ONNX Runtime {ort.__version__}, CPU, {THREADS} threads, one pool, {rounds} rounds",
        "shape": {"scores": [1, CLASSES, GRID, GRID], "class_map": [1, PIXELS, PIXELS]},
        "latency_ms": {name: round(statistics.median(times), 3) for name, times in latency_ms.items()},
        "speedup": {
            name: round(statistics.median(b / t for b, t in zip(base, times, strict=True)), 2)
            for name, times in latency_ms.items()
        },
        "scores": {name: _agreement(tails, sessions, scores) for name, scores in sets.items()},
    }


def _tails() -> list[Tail]:
    tails = [Tail("Resize + ArgMax", _resize_argmax(), False), Tail("plain form", _op(CLASSES, False), False)]
    for candidates in CANDIDATES:
        tails.append(Tail(f"M = {candidates}", _op(candidates, False), False))
        tails.append(Tail(f"M = {candidates}, counted", _op(candidates, True), True))
    return tails


def _resize_argmax() -> onnx.ModelProto:
    """What exporting interpolate + argmax gives: the classes stay the second axis."""
    return parser.parse_model(f"""
        <ir_version: {_IR_VERSION}, opset_import: ["": {OPSET}]>
        tail (float[1, {CLASSES}, {GRID}, {GRID}] scores) => (int32[1, {PIXELS}, {PIXELS}] class_map) {{
            scales = Constant <value_floats = [1.0, 1.0, {PIXELS / GRID}, {PIXELS / GRID}]> ()
            upsampled = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (scores, "", scales)
            winner = ArgMax <axis = 1, keepdims = 0> (upsampled)
            class_map = Cast <to = 6> (winner)
        }}""")


def _op(candidates: int, counted: bool) -> onnx.ModelProto:
    outputs = [helper.make_tensor_value_info("class_map", TensorProto.INT32, [1, PIXELS, PIXELS])]
    if counted:
        outputs.append(helper.make_tensor_value_info("uncertified", TensorProto.INT32, [1]))
    node = helper.make_node(NAME, ["scores"], [output.name for output in outputs], domain=DOMAIN)
    for name, value in zip(ATTRIBUTES, (PIXELS, PIXELS, candidates), strict=True):
        node.attribute.append(helper.make_attribute(name, value))
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES, GRID, GRID])
    return helper.make_model(
        helper.make_graph([node], "tail", [scores], outputs),
        functions=[onnx_function(CLASSES, GRID, GRID, PIXELS, PIXELS, candidates, counted)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
        ir_version=_IR_VERSION,
    )


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])


def _agreement(tails: list[Tail], sessions: dict[str, ort.InferenceSession], scores: torch.Tensor) -> dict[str, object]:
    outputs = {tail.name: sessions[tail.name].run(None, {"scores": scores.numpy()}) for tail in tails}
    expected = outputs[tails[0].name][0]
    return {
        "candidates_needed": candidates_needed(scores, PIXELS, PIXELS),
        "differing_pixels": {name: int((found[0] != expected).sum()) for name, found in outputs.items()},
        "uncertified_pixels": {tail.name: int(outputs[tail.name][1].sum()) for tail in tails if tail.counted},
    }
