"""Times from a kernel plan: tiles, the cache, streams, launches; each against a figure worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_kernel_plan import kernel, tensor

from edgeexport.cost.ceilings import ASSUMED, Ceiling, Ceilings
from edgeexport.cost.gpu_limits import GpuLimits, gpu_limits
from edgeexport.cost.kernel_plan import REDUCED, KernelPlan, PlannedKernel
from edgeexport.cost.plan_time import plan_prediction, plan_predictions
from edgeexport.cost.tiles import product_seconds, product_shape


def _limits(**more: float) -> GpuLimits:
    """1e9 multiply-accumulates a second on 4 multiprocessors, 1 GB/s, 8 GB/s from a cache of 40 kB, no launch time."""
    value = {"macs": 1.0, "memory": 1.0, "cache": 8.0, "launch": 0.0, "graph": 0.0, **more}
    of = {key: Ceiling(number, ASSUMED, "a test") for key, number in value.items()}
    ceilings = Ceilings("orin", "MAXN", {"float16": of["macs"], "float32": of["macs"]}, of["memory"], of["launch"])
    return GpuLimits(ceilings, 4, Ceiling(40_000, ASSUMED, ""), of["cache"], of["graph"])


def _product(rows: int, columns: int, inner: int, batch: int = 1) -> PlannedKernel:
    operands = (tensor("x", batch, rows, inner), tensor("w", batch, inner, columns))
    macs = batch * rows * columns * inner
    result = (tensor("y", batch, rows, columns),)
    return PlannedKernel("product", inputs=operands, outputs=result, macs=macs, dtype="float16")


@pytest.mark.parametrize(
    ("shape", "seconds", "busy"),
    [
        ((512, 512, 64), 512 * 512 * 64e-9, 1.0),  # 16 tiles of 128x128: four full waves
        ((32, 32, 64), 32 * 32 * 64 * 4e-9, 0.25),  # one tile on one of four multiprocessors
        ((33, 64, 64), 32 * 32 * 64 * 4e-9, 33 / 64),  # four tiles of 32x32, half of them nearly empty
        ((160, 32, 64), 2 * 32 * 32 * 64 * 4e-9, 5 / 8),  # five tiles: a second wave for one
    ],
)
def test_tiles_and_waves(shape: tuple[int, int, int], seconds: float, busy: float) -> None:
    found, share = product_seconds(_product(*shape), _limits(cache=1e6), "float16")
    assert found == pytest.approx(seconds)
    assert share == pytest.approx(busy)


def test_small_tiles_wait_for_their_operands() -> None:
    """A tile of 32x32 reads 64 x 64 x 2 bytes, of which its multiprocessor gets a quarter of the cache's rate."""
    found, _ = product_seconds(_product(32, 32, 64), _limits(cache=0.01), "float16")
    assert found == pytest.approx(64 * 64 * 2 / (0.01e9 / 4))


@pytest.mark.parametrize(
    ("left", "right", "macs", "shape"),
    [
        ((1, 712, 192), (1, 192, 576), 712 * 192 * 576, (1, 712, 576, 192)),
        ((3, 150, 64), (3, 64, 712), 3 * 150 * 64 * 712, (3, 150, 712, 64)),
        ((1, 1152, 256), (1, 320, 1152), 1152 * 256 * 320, (1, 256, 320, 1152)),
        ((1, 85, 64), (1, 64, 86), 85 * 64 * 85, (1, 85, 86, 64)),  # a column that the compiler added
        ((1, 7, 9), (1, 5, 3), 1000, None),
    ],
)
def test_which_axis_is_the_inner_one(left: tuple, right: tuple, macs: int, shape: tuple | None) -> None:
    made = PlannedKernel(
        "product", inputs=(tensor("a", *left), tensor("b", *right)), outputs=(tensor("c", 1),), macs=macs
    )
    assert product_shape(made) == shape


def test_a_depthwise_convolution_is_no_work_for_matrix_units() -> None:
    image = tensor("x", 1, 64, 20, 20)
    made = PlannedKernel("convolution", inputs=(image,), outputs=(image,), macs=64 * 400 * 9, dtype="float16")
    plain = replace(made, constants=(tensor("w", 64, 64, 3, 3),), macs=64 * 400 * 9 * 64)
    depthwise = replace(made, constants=(tensor("w", 64, 1, 3, 3),))
    limits = gpu_limits("orin")
    rate = limits.ceilings.product_rate("float32")
    slow, _ = product_seconds(depthwise, limits, "float16")
    assert slow == pytest.approx(64 * 400 * 9 / rate)
    assert product_seconds(plain, limits, "float16")[0] < 32 * slow


def _ms(*rows: PlannedKernel, limits: GpuLimits | None = None) -> tuple[float, int]:
    found = plan_prediction(KernelPlan(REDUCED, "fp16", "SM86", "x", rows), limits or _limits())
    return found.total_ms, found.cached_bytes


def test_what_is_read_again_soon_stays_in_the_cache() -> None:
    """Tensors of 12.8 kB, a cache of 40 kB: three fit, four do not."""
    size = 12_800
    soon = (kernel("generated", "in", "a"), kernel("generated", "a", "out"))
    assert _ms(*soon) == (pytest.approx(2 * 0.0128), 2 * size), "each kernel moves one tensor from or to memory"
    between = (kernel("generated", "p", "q"), kernel("generated", "r", "s"))
    total, cached = _ms(soon[0], *between, kernel("generated", "a q s", "out"))
    assert cached == 2 * 2 * size, "a was driven out by the others; q and s were not"
    assert total == pytest.approx((2 + 1 + 1 + 2) * 0.0128)


def test_streams_share_the_gpu_and_hide_launches() -> None:
    """Two kernels of 25.6 us: in one stream or two they take as long, but their launches of 10 us overlap."""
    first, second = kernel("generated", "a", "b"), kernel("generated", "c", "d")
    limits = _limits(launch=10.0)
    alone = _ms(first, limits=limits)[0]
    assert alone == pytest.approx(0.0356)
    assert _ms(first, second, limits=limits)[0] == pytest.approx(2 * alone)
    assert _ms(first, replace(second, stream=1), limits=limits)[0] == pytest.approx(2 * alone - 0.010)


def test_a_stream_waits_for_the_others_event() -> None:
    signal, wait = PlannedKernel("signal", event=3), PlannedKernel("wait", stream=1, event=3)
    first, second = kernel("generated", "a", "b"), kernel("generated", "c", "d", stream=1)
    limits = _limits(launch=10.0)
    assert _ms(first, signal, wait, second, limits=limits)[0] == pytest.approx(2 * _ms(first, limits=limits)[0])
    assert _ms(signal, wait, first, second, limits=limits)[0] < 2 * _ms(first, limits=limits)[0]


def test_every_power_mode_with_parts_bounds_and_a_cuda_graph() -> None:
    rows = (replace(_product(512, 512, 64), part="block_1"), kernel("generated", "y", "z", part="tail"))
    found = plan_predictions(KernelPlan(REDUCED, "fp16", "SM86", "x", rows), "orin")
    assert [item.limits.ceilings.power_mode for item in found] == ["MAXN", "50W", "30W", "15W"]
    assert sorted(item.total_ms for item in found) == [item.total_ms for item in found]
    told = found[0].as_dict()
    assert [part["part"] for part in told["parts"]] == ["block_1", "tail"]
    assert sum(part["ms"] for part in told["parts"]) == pytest.approx(told["total_ms"], abs=2e-6)
    assert told["total_ms"] - told["cuda_graph_ms"] == pytest.approx(2 * 0.003, rel=1e-3)
    assert (told["launches"], told["precision"], told["composed"]) == (2, "fp16", False)
    assert plan_predictions(KernelPlan(REDUCED, "fp16", "SM86", "x", rows), "gpu") == []
