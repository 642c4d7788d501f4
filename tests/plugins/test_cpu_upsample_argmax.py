"""The CPU reference of the UpsampleArgmax plugin against the op's torch reference and ONNX function."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from edgeexport.ops import DOMAIN, DOMAIN_VERSION, OPSET
from edgeexport.ops.upsample_argmax import (
    ATTRIBUTES,
    NAME,
    onnx_function,
    upsample_argmax_plain,
    upsample_argmax_reference,
)

NEAR_TIE = 1e-5
STATUS = {"null pointer": 1, "size": 2, "type": 3, "attribute": 5}  # common/status.h
_ENTRY = "edgeexport_cpu_upsample_argmax"

sizes = st.tuples(
    st.integers(1, 3),  # batch
    st.integers(2, 40),  # classes
    st.integers(1, 5),  # h
    st.integers(1, 5),  # w
    st.integers(1, 9),  # factor
)
kinds = st.sampled_from(["random", "peaked", "levels", "signed"])


def random_scores(seed: int, batch: int, classes: int, h: int, w: int, kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, classes, h, w)
    if kind == "peaked":  # one or two classes stand out at each position
        return torch.randn(shape, generator=generator).mul(4).softmax(dim=1)
    if kind == "levels":  # few distinct values, both zeros among them: ties everywhere
        return torch.randint(-2, 3, shape, generator=generator) * torch.tensor(-0.5)
    if kind == "signed":
        return torch.randn(shape, generator=generator)
    return torch.rand(shape, generator=generator)


def run(library: ctypes.CDLL, scores: Tensor, height: int, width: int, candidates: int) -> tuple[Tensor, Tensor]:
    """Outputs start as -7, so that a pixel that is not written shows."""
    batch, classes, h, w = scores.shape
    held = np.ascontiguousarray(scores.numpy())
    class_map = np.full((batch, height, width), -7, np.int32)
    uncertified = np.full(batch, -7, np.int32)
    status = call(library, held, (batch, classes, h, w, height, width, candidates), class_map, uncertified)
    assert status == 0
    return torch.from_numpy(class_map), torch.from_numpy(uncertified)


def call(
    library: ctypes.CDLL,
    scores: np.ndarray | None,
    numbers: tuple[int, ...],
    class_map: np.ndarray | None,
    uncertified: np.ndarray | None,
    element: int | None = None,
) -> int:
    if element is None:
        element = 1 if scores is not None and scores.dtype == np.float16 else 0
    pointers = [None if array is None else array.ctypes.data_as(ctypes.c_void_p) for array in (class_map, uncertified)]
    first = None if scores is None else scores.ctypes.data_as(ctypes.c_void_p)
    arguments = [ctypes.c_int32(number) for number in (element, *numbers)]
    function = getattr(library, _ENTRY)
    function.restype = ctypes.c_int
    return int(function(first, *arguments, *pointers))


def near_tie(scores: Tensor, height: int, width: int) -> Tensor:
    """bool (B, H, W): the two best scores are within 1e-5."""
    best = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False).topk(2, dim=1).values
    return best[:, 0] - best[:, 1] < NEAR_TIE


def function_outputs(scores: Tensor, height: int, width: int, candidates: int) -> tuple[Tensor, Tensor]:
    """What the ONNX function gives in ONNX Runtime."""
    batch, classes, h, w = scores.shape
    node = helper.make_node(NAME, ["scores"], ["class_map", "uncertified"], domain=DOMAIN)
    for name, value in zip(ATTRIBUTES, (height, width, candidates), strict=True):
        node.attribute.append(helper.make_attribute(name, value))
    outputs = [
        helper.make_tensor_value_info("class_map", TensorProto.INT32, [batch, height, width]),
        helper.make_tensor_value_info("uncertified", TensorProto.INT32, [batch]),
    ]
    model = helper.make_model(
        helper.make_graph(
            [node], "op", [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores.shape)], outputs
        ),
        functions=[onnx_function(classes, h, w, height, width, candidates)],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    class_map, uncertified = session.run(None, {"scores": scores.numpy()})
    return torch.from_numpy(class_map), torch.from_numpy(uncertified)


@settings(deadline=None, max_examples=150)
@given(sizes, st.integers(1, 42), kinds, st.integers(0, 2**31))
def test_equals_reference(
    cpu_library: ctypes.CDLL, size: tuple[int, ...], candidates: int, kind: str, seed: int
) -> None:
    batch, classes, h, w, factor = size
    height, width = h * factor, w * factor
    scores = random_scores(seed, batch, classes, h, w, kind)
    class_map, uncertified = run(cpu_library, scores, height, width, candidates)
    expected, expected_uncertified = upsample_argmax_reference(scores, height, width, candidates)
    if candidates >= classes or factor == 1:  # torch's own interpolation rounds in another order
        clear = ~near_tie(scores, height, width)
        assert torch.equal(class_map[clear], expected[clear])
        assert not uncertified.any()
    else:  # the same float32 operations in the same order
        assert torch.equal(class_map, expected)
        assert torch.equal(uncertified, expected_uncertified)


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 42), kinds, st.integers(0, 2**31))
def test_half_scores_are_widened_exactly(
    cpu_library: ctypes.CDLL, size: tuple[int, ...], candidates: int, kind: str, seed: int
) -> None:
    batch, classes, h, w, factor = size
    scores = random_scores(seed, batch, classes, h, w, kind).half()
    narrow = run(cpu_library, scores, h * factor, w * factor, candidates)
    wide = run(cpu_library, scores.float(), h * factor, w * factor, candidates)
    assert torch.equal(narrow[0], wide[0]) and torch.equal(narrow[1], wide[1])


@settings(deadline=None, max_examples=80)
@given(sizes, st.integers(1, 42), st.sampled_from([2, 4, 8]), st.integers(0, 2**31))
def test_exact_ties_give_the_lowest_class(
    cpu_library: ctypes.CDLL, size: tuple[int, ...], candidates: int, factor: int, seed: int
) -> None:
    """Multiples of 1/2 and a factor that is a power of two: every blend is exact, and ties are ties in every form."""
    batch, classes, h, w, _ = size
    height, width = h * factor, w * factor
    scores = random_scores(seed, batch, classes, h, w, "levels")
    found, _ = run(cpu_library, scores, height, width, classes)
    assert torch.equal(found, upsample_argmax_plain(scores, height, width))
    class_map, uncertified = run(cpu_library, scores, height, width, candidates)
    expected = upsample_argmax_reference(scores, height, width, candidates)
    assert torch.equal(class_map, expected[0])
    assert torch.equal(uncertified, expected[1])
    assert ((class_map != found).sum(dim=(1, 2)) <= uncertified).all()


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
@pytest.mark.parametrize("candidates", [1, 3, 7])
def test_all_equal_gives_class_zero(cpu_library: ctypes.CDLL, value: float, candidates: int) -> None:
    scores = torch.full((2, 7, 3, 4), value)
    class_map, uncertified = run(cpu_library, scores, 12, 16, candidates)
    assert not class_map.any()
    assert uncertified.tolist() == ([192, 192] if candidates < 7 else [0, 0])  # class 0 won, but nothing proves it


def test_zeros_of_both_signs_are_equal(cpu_library: ctypes.CDLL) -> None:
    """With -0 below +0, class 1 would be the one candidate."""
    scores = torch.full((1, 3, 2, 2), -1.0)
    scores[0, 0], scores[0, 1] = -0.0, 0.0
    class_map, uncertified = run(cpu_library, scores, 8, 8, 1)
    assert not class_map.any()
    assert uncertified.tolist() == [64]


def test_left_out_class_is_counted_and_batches_are_apart(cpu_library: ctypes.CDLL) -> None:
    """Class 2 has the smallest largest corner yet wins the middle of the first image alone."""
    scores = torch.zeros(2, 3, 2, 2)
    scores[0, 0, 0, 0], scores[0, 1, 1, 1], scores[0, 2] = 1.0, 1.0, 0.9
    scores[1, 0] = 2.0
    class_map, uncertified = run(cpu_library, scores, 16, 16, 2)
    exact, certified = run(cpu_library, scores, 16, 16, 3)
    wrong = (class_map != exact).sum(dim=(1, 2))
    assert 0 < int(wrong[0]) <= int(uncertified[0]) and int(uncertified[1]) == 0
    assert (exact[0] == 2).any() and certified.tolist() == [0, 0]
    for image in range(2):
        alone = run(cpu_library, scores[image : image + 1], 16, 16, 2)
        assert torch.equal(alone[0][0], class_map[image]) and alone[1][0] == uncertified[image]


@pytest.mark.parametrize(
    ("batch", "classes", "h", "w", "factor", "candidates"),
    [
        (1, 20, 8, 8, 16, 4),
        (2, 9, 3, 5, 3, 2),
        (1, 6, 1, 4, 4, 1),
        (3, 40, 4, 1, 5, 39),
        (1, 5, 1, 1, 2, 3),
        (2, 7, 3, 4, 1, 2),  # nothing to upsample
        (2, 4, 3, 2, 7, 4),  # as many candidates as classes
        (1, 4, 3, 2, 2, 9),  # more
    ],
)
@pytest.mark.parametrize("kind", ["random", "peaked"])
def test_equals_onnx_function(
    cpu_library: ctypes.CDLL, batch: int, classes: int, h: int, w: int, factor: int, candidates: int, kind: str
) -> None:
    height, width = h * factor, w * factor
    scores = random_scores(classes, batch, classes, h, w, kind)
    class_map, uncertified = run(cpu_library, scores, height, width, candidates)
    expected, expected_uncertified = function_outputs(scores, height, width, candidates)
    clear = ~near_tie(scores, height, width)
    assert clear.float().mean() > 0.9
    assert torch.equal(class_map[clear], expected[clear])
    # The function blends by a matrix product: a pixel whose margin is a rounding error may count or not.
    assert (uncertified - expected_uncertified).abs().max() <= 2


def test_segvit_size(cpu_library: ctypes.CDLL) -> None:
    """More classes than a warp is wide, not a multiple of it; 32 x 32 scores to 512 x 512 pixels."""
    scores = random_scores(1, 1, 150, 32, 32, "peaked")
    class_map, uncertified = run(cpu_library, scores, 512, 512, 8)
    expected = upsample_argmax_reference(scores, 512, 512, 8)
    assert torch.equal(class_map, expected[0]) and torch.equal(uncertified, expected[1])
    assert len(class_map.unique()) > 32


def test_count_may_be_left_out(cpu_library: ctypes.CDLL) -> None:
    scores = random_scores(2, 2, 12, 3, 4, "random")
    class_map = np.full((2, 12, 16), -7, np.int32)
    assert call(cpu_library, scores.numpy(), (2, 12, 3, 4, 12, 16, 5), class_map, None) == 0
    assert torch.equal(torch.from_numpy(class_map), run(cpu_library, scores, 12, 16, 5)[0])


@pytest.mark.parametrize(
    ("numbers", "element", "reason"),
    [
        ((1, 3, 2, 2, 4, 4, 0), 0, "attribute"),
        ((1, 3, 2, 2, 4, 4, 2), 3, "type"),
        ((1, 3, 2, 2, 4, 4, 2), 9, "type"),
        ((1, 3, 2, 2, 5, 4, 2), 0, "size"),
        ((1, 3, 2, 2, 4, 6, 2), 0, "size"),
        ((1, 3, 2, 2, 1, 1, 2), 0, "size"),
        ((0, 3, 2, 2, 4, 4, 2), 0, "size"),
        ((1, 3, 0, 2, 4, 4, 2), 0, "size"),
        ((1, 3, 2, -2, 4, 4, 2), 0, "size"),
        ((1, 2049, 2, 2, 4, 4, 2), 0, "size"),
        ((1, 3, 1, 1, 4097, 4097, 2), 0, "size"),
        ((65536, 3, 2, 2, 4, 4, 2), 0, "size"),
    ],
)
def test_bad_arguments_are_refused(
    cpu_library: ctypes.CDLL, numbers: tuple[int, ...], element: int, reason: str
) -> None:
    """Refused before anything is read or written."""
    scores, class_map = np.zeros(1, np.float32), np.full(1, -7, np.int32)
    assert call(cpu_library, scores, numbers, class_map, None, element) == STATUS[reason]
    assert class_map[0] == -7


def test_null_pointers_are_refused(cpu_library: ctypes.CDLL) -> None:
    numbers = (1, 1, 1, 1, 1, 1, 1)
    one, out = np.zeros(1, np.float32), np.zeros(1, np.int32)
    assert call(cpu_library, None, numbers, out, out, 0) == STATUS["null pointer"]
    assert call(cpu_library, one, numbers, None, out, 0) == STATUS["null pointer"]
    assert call(cpu_library, one, numbers, out, None, 0) == 0
