"""UpsampleArgmax against upsampling every class, brute force over candidate counts, and its body in two runtimes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import onnx
import onnx.inliner
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from edgeexport.errors import BuildError
from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.upsample_argmax import (
    ATTRIBUTES,
    NAME,
    candidates_needed,
    onnx_function,
    onnx_function_plain,
    tensorrt_function,
    upsample_argmax,
    upsample_argmax_plain,
)

NEAR_TIE = 1e-5
REFUSED = {"NonZero", "Loop", "If", "Scan", "Einsum", "Unique", "Compress", "ScatterElements", "ScatterND"}


def random_scores(seed: int, batch: int, classes: int, h: int, w: int, kind: str = "random") -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, classes, h, w)
    if kind == "peaked":  # one or two classes stand out at each position
        return torch.randn(shape, generator=generator).mul(4).softmax(dim=1)
    if kind == "levels":  # few distinct values, negative too: ties everywhere
        return torch.randint(-2, 3, shape, generator=generator).to(torch.float32)
    return torch.rand(shape, generator=generator)


def wrong_pixels(scores: Tensor, class_map: Tensor) -> Tensor:
    """bool (B, H, W): the map's class scores clearly less there than the best one."""
    upsampled = F.interpolate(scores, size=class_map.shape[1:], mode="bilinear", align_corners=False)
    chosen = upsampled.gather(1, class_map[:, None].long())[:, 0]
    return upsampled.amax(dim=1) - chosen > NEAR_TIE


def model_with(
    function: onnx.FunctionProto, shape: tuple[int, ...], height: int, width: int, m: int
) -> onnx.ModelProto:
    node = helper.make_node(NAME, ["scores"], list(function.output), domain=DOMAIN)
    for name, value in zip(ATTRIBUTES, (height, width, m), strict=True):
        node.attribute.append(helper.make_attribute(name, value))
    outputs = [
        helper.make_tensor_value_info("class_map", TensorProto.INT32, [shape[0], height, width]),
        helper.make_tensor_value_info("uncertified", TensorProto.INT32, [shape[0]]),
    ]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([node], "op", [scores], outputs[: len(function.output)]),
        functions=[function],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, scores: Tensor) -> tuple[Tensor, Tensor]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    class_map, uncertified = session.run(None, {"scores": scores.numpy()})
    assert class_map.dtype == uncertified.dtype == np.int32
    return torch.from_numpy(class_map), torch.from_numpy(uncertified)


sizes = st.tuples(
    st.integers(1, 3),  # batch
    st.integers(1, 9),  # classes
    st.integers(1, 5),  # h
    st.integers(1, 5),  # w
    st.integers(1, 7),  # factor
)
kinds = st.sampled_from(["random", "peaked", "levels"])


@settings(deadline=None, max_examples=150)
@given(sizes, st.integers(1, 11), kinds, st.integers(0, 2**31))
def test_certified_image_equals_plain(size: tuple[int, ...], m: int, kind: str, seed: int) -> None:
    batch, classes, h, w, factor = size
    scores = random_scores(seed, batch, classes, h, w, kind)
    class_map, uncertified = upsample_argmax(scores, h * factor, w * factor, m)
    assert class_map.shape == (batch, h * factor, w * factor)
    assert class_map.dtype == uncertified.dtype == torch.int32
    wrong = wrong_pixels(scores, class_map).sum(dim=(1, 2))
    # Soundness, stronger than "0 means exact": never more wrong pixels than uncertified ones.
    assert (wrong <= uncertified).all()
    if m >= classes:
        assert not uncertified.any()
        assert torch.equal(class_map, upsample_argmax_plain(scores, h * factor, w * factor))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 8), st.integers(1, 7), st.integers(2, 6), kinds, st.integers(0, 2**31))
def test_every_certified_pixel_is_right(classes: int, m: int, factor: int, kind: str, seed: int) -> None:
    """Pixel by pixel: a certificate written from its definition, on scores of one inner cell."""
    scores = random_scores(seed, 1, classes, 2, 2, kind)
    m = min(m, classes - 1)
    size = 2 * factor
    class_map, uncertified = upsample_argmax(scores, size, size, m)
    upsampled = F.interpolate(scores, size=(size, size), mode="bilinear", align_corners=False)[0]
    centre = (torch.arange(size) + 0.5) / factor - 0.5
    low = centre.floor().long()
    doubtful, wrong = 0, wrong_pixels(scores, class_map)[0]
    for y in range(size):
        for x in range(size):
            rows, columns = ([int(low[i].clamp(0, 1)), int((low[i] + 1).clamp(0, 1))] for i in (y, x))
            corner = scores[0][:, rows][:, :, columns].amax(dim=(1, 2))
            ranked = corner.sort(descending=True, stable=True)
            margin = float(upsampled[ranked.indices[:m], y, x].max() - ranked.values[m])
            if abs(margin) <= NEAR_TIE:
                return  # rounding decides: no statement about the count
            doubtful += margin <= 0
            assert margin <= 0 or not wrong[y, x]
    assert int(uncertified) == doubtful


def test_left_out_class_is_reported() -> None:
    """Class 2 has the smallest largest corner yet wins the middle: two candidates must not certify it away."""
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 0, 0, 0], scores[0, 1, 1, 1], scores[0, 2] = 1.0, 1.0, 0.9
    class_map, uncertified = upsample_argmax(scores, 16, 16, 2)
    assert wrong_pixels(scores, class_map).any()
    assert int(uncertified) >= int(wrong_pixels(scores, class_map).sum())
    exact, certified = upsample_argmax(scores, 16, 16, 3)
    assert int(certified) == 0 and (exact == 2).any()


def test_equal_score_of_a_lower_class_left_out_is_not_certified() -> None:
    """Where class 1, alone kept for its larger corner, just equals class 0 (exact in binary), class 0 is right."""
    scores = torch.tensor([[[[0.5, 0.5]], [[0.25, 1.25]]]])
    assert upsample_argmax_plain(scores, 2, 4)[0, 0].tolist() == [0, 0, 1, 1]
    body = model_with(onnx_function(2, 1, 2, 2, 4, 1), (1, 2, 1, 2), 2, 4, 1)
    for class_map, uncertified in (upsample_argmax(scores, 2, 4, 1), run(body, scores)):
        assert class_map[0, 0].tolist() == [0, 1, 1, 1]
        assert int(uncertified) == 2  # that column, both rows


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
def test_all_equal_gives_class_zero(value: float) -> None:
    scores = torch.full((2, 7, 3, 4), value)
    for m in (2, 7):
        class_map, uncertified = upsample_argmax(scores, 12, 16, m)
        assert not class_map.any()
        assert uncertified.tolist() == ([192, 192] if m < 7 else [0, 0])  # class 0 won, but nothing proves it
        body_map, body_uncertified = run(model_with(onnx_function(7, 3, 4, 12, 16, m), (2, 7, 3, 4), 12, 16, m), scores)
        assert not body_map.any()
        assert torch.equal(body_uncertified, uncertified)


def test_tie_between_candidates_gives_lowest_class() -> None:
    """Class 3 ranks first by its corner of 1.25, and equals class 1 exactly in the second column: class 1 is right."""
    scores = torch.full((1, 5, 1, 2), -1.0)
    scores[0, 1, 0], scores[0, 3, 0] = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 1.25])
    body = model_with(onnx_function(5, 1, 2, 2, 4, 2), (1, 5, 1, 2), 2, 4, 2)
    for class_map, uncertified in (upsample_argmax(scores, 2, 4, 2), run(body, scores)):
        assert class_map[0].tolist() == [[1, 1, 3, 3]] * 2
        assert int(uncertified) == 0


@settings(deadline=None, max_examples=60)
@given(sizes, kinds, st.integers(0, 2**31))
def test_candidates_needed_is_the_smallest(size: tuple[int, ...], kind: str, seed: int) -> None:
    batch, classes, h, w, factor = size
    scores = random_scores(seed, batch, classes, h, w, kind)
    certified = [m for m in range(1, classes + 1) if not upsample_argmax(scores, h * factor, w * factor, m)[1].any()]
    assert candidates_needed(scores, h * factor, w * factor) == min(certified)


def test_batch_equals_images_one_by_one() -> None:
    scores = torch.cat([random_scores(3, 1, 12, 5, 4, "peaked"), random_scores(4, 1, 12, 5, 4)])
    together = upsample_argmax(scores, 40, 32, 4)
    for image in range(2):
        alone = upsample_argmax(scores[image : image + 1], 40, 32, 4)
        assert torch.equal(together[0][image], alone[0][0]) and together[1][image] == alone[1][0]
    assert together[1][0] != together[1][1]
    body = run(model_with(onnx_function(12, 5, 4, 40, 32, 4), (2, 12, 5, 4), 40, 32, 4), scores)
    assert not (body[0] != together[0])[~near_tie(scores, 40, 32)].any()
    assert torch.equal(body[1], together[1])


def near_tie(scores: Tensor, height: int, width: int) -> Tensor:
    """bool (B, H, W): the two best scores are within 1e-5."""
    best = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False).topk(2, dim=1).values
    return best[:, 0] - best[:, 1] < NEAR_TIE


@pytest.mark.parametrize(
    ("batch", "classes", "h", "w", "factor", "m"),
    [
        (1, 20, 8, 8, 16, 4),
        (2, 9, 3, 5, 3, 2),
        (1, 6, 1, 4, 4, 1),
        (3, 6, 4, 1, 5, 5),
        (1, 5, 1, 1, 2, 3),
        (2, 7, 3, 4, 1, 2),  # nothing to upsample
        (2, 4, 3, 2, 8, 4),  # as many candidates as classes
        (1, 4, 3, 2, 2, 9),  # more
        (1, 1, 2, 2, 4, 1),
    ],
)
@pytest.mark.parametrize("kind", ["random", "peaked"])
def test_onnx_function_equals_reference(
    batch: int, classes: int, h: int, w: int, factor: int, m: int, kind: str
) -> None:
    height, width = h * factor, w * factor
    scores = random_scores(classes, batch, classes, h, w, kind)
    expected = upsample_argmax(scores, height, width, m)
    shape = (batch, classes, h, w)
    ties = near_tie(scores, height, width) if classes > 1 else torch.zeros(1, dtype=torch.bool)
    for body in (onnx_function, tensorrt_function):
        found = run(model_with(body(classes, h, w, height, width, m), shape, height, width, m), scores)
        assert not ((found[0] != expected[0]) & ~ties).any()
        assert torch.equal(found[1], expected[1])

    plain = run(model_with(onnx_function_plain(classes, h, w, height, width), shape, height, width, m), scores)
    assert not ((plain[0] != upsample_argmax_plain(scores, height, width)) & ~ties).any()
    assert plain[1].tolist() == [0] * batch


def test_the_form_for_tensorrt_blends_as_the_reference_does() -> None:
    """In the same order, so that even near ties are the same, and the lowest class wins exact ones."""
    for kind in ("random", "peaked", "levels"):
        scores = random_scores(3, 2, 20, 6, 5, kind)
        expected = upsample_argmax(scores, 48, 40, 6)
        found = run(model_with(tensorrt_function(20, 6, 5, 48, 40, 6), (2, 20, 6, 5), 48, 40, 6), scores)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("m", [8, 150])
def test_inlined_body_is_static_and_uses_no_refused_operator(m: int) -> None:
    model = inlined(m)
    assert not REFUSED & {node.op_type for node in model.graph.node}
    produced = {name for node in model.graph.node for name in node.output if name}
    shapes = {value.name: value.type.tensor_type.shape for value in [*model.graph.value_info, *model.graph.output]}
    assert produced <= set(shapes)
    assert all(dim.HasField("dim_value") for shape in shapes.values() for dim in shape.dim)


@pytest.mark.parametrize("m", [4, 20])
def test_body_without_count(m: int) -> None:
    scores = random_scores(5, 2, 20, 4, 4)
    with_count = model_with(onnx_function(20, 4, 4, 32, 32, m), (2, 20, 4, 4), 32, 32, m)
    without = model_with(onnx_function(20, 4, 4, 32, 32, m, counted=False), (2, 20, 4, 4), 32, 32, m)
    session = ort.InferenceSession(without.SerializeToString(), providers=["CPUExecutionProvider"])
    (class_map,) = session.run(None, {"scores": scores.numpy()})
    assert torch.equal(torch.from_numpy(class_map), run(with_count, scores)[0])
    operators = {node.op_type for node in onnx.inliner.inline_local_functions(without).graph.node}
    assert "ArgMax" in operators and not operators & {"ReduceMax", "ReduceSum", "Sub"}


def test_export_emits_one_node_with_the_attributes() -> None:
    class Tail(torch.nn.Module):
        def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
            return upsample_argmax(scores, 16, 24, 3)

    program = torch.onnx.export(
        Tail().eval(), (torch.rand(2, 5, 4, 6),), dynamo=True, opset_version=OPSET, verbose=False
    )
    assert program is not None
    (node,) = program.model_proto.graph.node
    assert (node.domain, node.op_type) == (DOMAIN, NAME)
    assert {item.name: item.i for item in node.attribute} == {"height": 16, "width": 24, "candidates": 3}


@pytest.mark.parametrize(
    ("height", "width", "candidates", "message"),
    [
        (20, 16, 2, "output of 20 x 16 pixels from scores of 4 x 4, expected one whole factor"),
        (18, 18, 2, "expected one whole factor"),
        (2, 2, 2, "expected one whole factor"),
        (16, 16, 0, "candidates = 0, expected at least 1"),
        (16, 16, 3840, "candidates = 3840 needs a TopK of 3841, TensorRT takes 3840 at most"),
    ],
)
def test_bad_arguments_are_refused(height: int, width: int, candidates: int, message: str) -> None:
    scores = torch.zeros(1, 4000, 4, 4)
    with pytest.raises(BuildError, match=message):
        upsample_argmax(scores, height, width, candidates)
    with pytest.raises(BuildError, match=message):
        onnx_function(4000, 4, 4, height, width, candidates)


def inlined(m: int) -> onnx.ModelProto:
    shape = (1, 150, 32, 32)
    model = onnx.inliner.inline_local_functions(model_with(onnx_function(150, 32, 32, 512, 512, m), shape, 512, 512, m))
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


BUILD_SCRIPT = """
import sys
import tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
parsed = parser.parse(sys.stdin.buffer.read())
assert parsed, [str(parser.get_error(i)) for i in range(parser.num_errors)]
config = builder.create_builder_config()
config.num_compute_capabilities = 1
assert config.set_compute_capability(trt.ComputeCapability.SM86, 0)
engine = builder.build_serialized_network(network, config)
assert engine is not None and engine.nbytes > 0
print("built")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None, reason="the tensorrt-rtx wheels are not installed"
)
@pytest.mark.parametrize("m", [8, 150])
def test_tensorrt_rtx_parses_and_builds(m: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD_SCRIPT], input=inlined(m).SerializeToString(), capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"built" in done.stdout
