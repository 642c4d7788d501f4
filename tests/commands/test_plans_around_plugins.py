"""A graph around plugins that cannot be compiled: said wherever the plan is shown, and never taken for good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="exports models")
pytest.importorskip("tensorrt_rtx_bindings", reason="compiles for SM86")

from edgeexport.backends.tensorrt_rtx import RtxCheck, check_tensorrt_rtx
from edgeexport.commands import plans as planning
from edgeexport.commands.build import build
from edgeexport.cost.kernel_plan import REDUCED, KernelPlan, PlannedKernel, Plans, plans_bytes, read_plan_file

TINY_TOME = """
model = dict(type="timm", img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=5)
input = dict(shape=(1, 3, 64, 64))
output = "logits"
reduction = dict(tome=dict(r=3))
"""
REASON = "parser: no such thing near 'node <7>'"


def test_why_a_graph_was_not_compiled_around_its_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edgeexport
) -> None:
    """In kernels.json, `inspect --kernels`, the report, the build's warnings and log; such a plan is made again next time."""
    monkeypatch.setenv("EDGEEXPORT_EXPORT_CACHE", str(tmp_path / "kept"))

    def check(path: Path, **more: Any) -> RtxCheck:
        refused = "around" in path.name or path.name.startswith("dense")
        return RtxCheck("failed", "1", REASON) if refused else check_tensorrt_rtx(path, **more)

    monkeypatch.setattr(planning, "check_tensorrt_rtx", check)
    recipe = tmp_path / "tiny_tome.py"
    recipe.write_text(TINY_TOME)
    bundle = tmp_path / "bundle"
    built = build(recipe, "orin", work_dir=bundle)
    told = [text for text in built.warnings if "around the plugins was not compiled" in text]
    assert [text.split(" with plugins")[0] for text in told] == [
        f"the plan of the reduced model in {precision}" for precision in ("fp32", "fp16")
    ]
    assert all(text.endswith(REASON) for text in told)
    entries = json.loads((bundle / "kernels.json").read_text())["plans"]
    assert [(entry["not_around"], "with_plugins" in entry) for entry in entries] == [(REASON, False)] * 2
    assert (bundle / "build.log").read_text().count(REASON) == 4, "two of these, and two dense plans that are missing"
    shown = edgeexport("inspect", bundle, "--kernels")
    assert shown.code == 0 and "composed with plugins, not compiled" in shown.out
    assert " ".join(shown.out.split()).count(REASON) == 4
    answer = json.loads(edgeexport("inspect", bundle, "--kernels", "--json").out)
    assert answer["taken_apart"] == told and {plan["not_around"] for plan in answer["plans"]} == {REASON}
    page = (bundle / "report.html").read_text()
    assert page.count("no such thing near") == 4 and "node <7>" not in page
    assert not list((tmp_path / "kept" / "plans").glob("*.json")), "a reason may pass"


def test_a_plan_of_an_earlier_version_says_so(tmp_path: Path) -> None:
    """It has launches, nothing compiled around them, and no reason; read again it is the same."""
    kernel = PlannedKernel("generated", nodes=("match/a",), calls=("match",))
    plan = KernelPlan(REDUCED, "fp16", "SM86", "x", (kernel,), launches={"match": ("only",)})
    assert plan.not_around == "" and "version of edgeexport" in plan.with_plugins().not_around
    path = tmp_path / "kernels.json"
    for one in (plan, replace(plan, not_around=REASON)):
        path.write_bytes(plans_bytes(Plans((one,))))
        assert read_plan_file(path) == one
    assert Plans((plan, replace(plan, not_around=REASON))).taken_apart[0].endswith(REASON)
