"""The kernel plan as the report draws it: of the bundle's precision, dense beside reduced, compiled or composed."""

from __future__ import annotations

from dataclasses import replace

from edgeexport.cost.kernel_plan import DENSE, REDUCED, KernelPlan, PlannedKernel, Plans, Tensor
from edgeexport.report.kernel_view import kernel_view
from edgeexport.report.prediction_view import predictions_of_bundle

_A, _B = (Tensor(name, "float16", (100, 64), (64, 1)) for name in "ab")
_MANIFEST = {"target": "orin", "precision": "fp16", "plugins": True}


def _kernel(part: str, *calls: str) -> PlannedKernel:
    nodes = tuple(f"{call}/node" for call in calls)
    return PlannedKernel("generated", inputs=(_A,), outputs=(_B,), part=part, calls=calls, nodes=nodes)


def _plan(model: str, *rows: PlannedKernel, precision: str = "fp16", **more: object) -> KernelPlan:
    return KernelPlan(model, precision, "SM86", "TensorRT-RTX 1", rows, **more)  # type: ignore[arg-type]


_REDUCED = _plan(
    REDUCED,
    _kernel("block_1"),
    *[_kernel("prune_1", "select")] * 3,
    _kernel("tail"),
    launches={"select": ("partition",)},
)
_DENSE = _plan(DENSE, _kernel("block_1"), _kernel("tail"))


def test_parts_side_by_side_and_what_the_plan_is() -> None:
    view = kernel_view(_MANIFEST, Plans((_REDUCED, _DENSE), ("no plan of the dense model in fp32: x",)))
    assert view is not None
    headings = [heading for heading, _ in view.charts]
    assert headings == ["Kernels", "Megabytes moved", "Predicted milliseconds at MAXN"]
    kernels = view.charts[0][1]
    assert kernels.table.rows[:2] == (("block 1", "1.000", "1.000"), ("pruning after block 1", "1.000", ""))
    assert len(kernels.legend) == 2 and "composed" in view.how and view.missing


def test_a_plan_compiled_around_plugins_and_one_taken_apart() -> None:
    around = replace(_REDUCED, around=(_kernel("block_1"), PlannedKernel("plugin", "partition", part="prune_1")))
    view = kernel_view(_MANIFEST, Plans((around,)))
    assert view is not None and "around the plugins" in view.how and view.missing == ()
    apart = Plans((replace(_REDUCED, not_around="refused"),))
    for plugins, notes in ((True, apart.taken_apart), (False, ())):
        view = kernel_view({**_MANIFEST, "plugins": plugins}, apart)
        assert view is not None and "around the plugins" not in view.how and view.missing == notes


def test_a_plugin_free_bundle_shows_what_was_compiled() -> None:
    view = kernel_view({**_MANIFEST, "plugins": False}, Plans((_REDUCED,)))
    assert view is not None and "composed" not in view.how
    assert view.charts[0][1].table.rows[1] == ("pruning after block 1", "3.000")
    unknown = kernel_view({**_MANIFEST, "target": "gpu"}, Plans((_REDUCED,)))
    assert unknown is not None and len(unknown.charts) == 2, "no time without known limits"


def test_no_plan_of_the_bundles_precision_nothing_to_show() -> None:
    assert kernel_view(_MANIFEST, None) is None
    assert kernel_view(_MANIFEST, Plans((_plan(REDUCED, precision="fp32"),))) is None


def test_predictions_rest_on_the_plan() -> None:
    found, why = predictions_of_bundle(_MANIFEST, None, Plans((_REDUCED,)))
    assert [item["power_mode"] for item in found] == ["MAXN", "50W", "30W", "15W"] and why == ""
    assert (found[0]["launches"], found[0]["composed"]) == (3, True)
    assert predictions_of_bundle(_MANIFEST, None)[0] == []
