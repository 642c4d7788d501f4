"""`edgeexport compare`: what it shows, when it fails, and that nothing missing passes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison_cases import ORIN, bench, output, parity, write_bundle
from shared_cases import REPOSITORY, CommandResult

from edgeexport.comparison.compare import compare_bundles
from edgeexport.errors import BundleError, MeasurementError, UsageError

Command = Callable[..., CommandResult]
SLOWER = "latency_p50_ms > 1.03*A"


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "a", bench=bench(10.0))


@pytest.mark.parametrize(("p50", "code"), [(10.2, 0), (10.29, 0), (10.31, 8), (9.0, 0)])
def test_exit_code_tells_whether_a_condition_holds(
    a: Path, tmp_path: Path, edgeexport: Command, p50: float, code: int
) -> None:
    b = write_bundle(tmp_path / "b", bench=bench(p50))
    done = edgeexport("compare", a, b, "--fail-if", SLOWER, "--fail-if", "parity.cosine < 0.999")
    assert done.code == code, done.err
    assert f"{'failed' if code else 'ok'}: latency_p50_ms > 1.03*A" in done.out
    assert "ok: parity.cosine < 0.999" in done.out
    if code:
        assert "A.latency_p50_ms = 10" in done.err and str(b) in done.err


def test_json_is_all_there_is_on_standard_output(a: Path, tmp_path: Path, edgeexport: Command) -> None:
    b = write_bundle(tmp_path / "b", bench=bench(12.0), parity=parity(output(cosine=0.99)))
    conditions = (SLOWER, "parity.cosine < 0.999", "tokens.macs > A")
    done = edgeexport("compare", a, b, *(part for text in conditions for part in ("--fail-if", text)), "--json")
    assert done.code == 8
    found = json.loads(done.out)
    assert found["schema"] == "edgeexport.comparison/1" and found["status"] == "failed"
    assert [item["failed"] for item in found["conditions"]] == [True, True, False]
    assert found["conditions"][0]["values"] == {"B.latency_p50_ms": 12.0, "A.latency_p50_ms": 10.0}
    latency = found["metrics"]["latency_p50_ms"]
    assert latency == {"a": 10.0, "b": 12.0, "ratio": 1.2, "source": "bench.json", "provenance": "measured"}
    assert found["metrics"]["bench.predicted.latency_ms"]["provenance"] == "predicted"
    assert found["metrics"]["tokens.macs"]["provenance"] == "computed"
    assert found["latency_change"] is None
    assert "and 1 more" in done.err


def test_without_conditions_it_only_shows(a: Path, tmp_path: Path, edgeexport: Command) -> None:
    done = edgeexport("compare", a, write_bundle(tmp_path / "b", bench=None, parity=None))
    assert done.code == 0
    assert "latency_p50_ms" in done.out and "–" in done.out


@pytest.mark.parametrize("missing_in", ["a", "b"])
@pytest.mark.parametrize(
    ("condition", "file", "remedy"),
    [
        (SLOWER, "bench", "edgeexport profile"),
        ("energy_net_mj > A", "bench", "--power"),
        ("bench.power.rails.VDD_GPU_SOC.load_w > A", "bench", "--power"),
        ("verify.cosine < 0.9*A", "verify", "edgeexport verify"),
        ("evaluation.miou < A - 0.5", "evaluation", "edgeexport evaluate"),
        ("evaluation.forms.fixed.miou < A", "evaluation", "edgeexport evaluate"),
        ("latency_p95_ms > A", "bench", "edgeexport profile"),
        ("tokens.macs > A", "tokens", "edgeexport build"),
    ],
)
def test_what_is_missing_never_passes(tmp_path: Path, condition: str, file: str, remedy: str, missing_in: str) -> None:
    complete = {
        "bench": bench(power={"net_mj": 1.0, "rails": {"VDD_GPU_SOC": {"load_w": 2.0}}}),
        "verify": parity(),
        "evaluation": {"miou": 40.0, "forms": {"fixed": {"miou": 40.0}}},
    }
    complete["bench"]["rows"]["compute"]["p95"] = 11.0
    sides = {side: write_bundle(tmp_path / side, **complete) for side in "ab"}
    assert not compare_bundles(sides["a"], sides["b"], [condition]).failed
    lacking = write_bundle(tmp_path / "lacking", **(complete | {file: None}))
    sides[missing_in] = lacking
    with pytest.raises(MeasurementError) as refused:
        compare_bundles(sides["a"], sides["b"], [condition])
    message = str(refused.value)
    assert refused.value.exit_code == 6
    assert f"missing in {missing_in.upper()} {lacking}" in message and f"{file}.json" in message and remedy in message


def test_a_class_map_has_no_cosine(a: Path, tmp_path: Path) -> None:
    b = write_bundle(tmp_path / "b", parity=parity(output("class_map", agreement=1.0, differing=0)))
    with pytest.raises(MeasurementError, match=r"parity\.json does not tell it"):
        compare_bundles(a, b, ["parity.cosine < 0.999"])


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("latency_p5_ms_ > A", "latency_p50_ms"),
        ("latency_p50 > A", "did you mean 'latency_p50_ms'"),
        ("parity.cosin < 0.9", "did you mean 'parity.cosine'"),
        ("tokens.mac > A", "did you mean 'tokens.macs'"),
        ("zzzzqqqq > A", "compare --json lists all"),
        ("verify.cosin < 0.9", "verify.cosine"),
        ("bench.predicted.latency > 1", "bench.predicted.latency_ms"),
    ],
)
def test_unknown_names_suggest_the_nearest(a: Path, tmp_path: Path, condition: str, hint: str) -> None:
    b = write_bundle(tmp_path / "b")
    with pytest.raises(UsageError, match="there is no metric") as refused:
        compare_bundles(a, b, [condition])
    assert hint in str(refused.value) and refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"mode": "MODE_30W"}, "power mode: A MAXN, B MODE_30W"),
        ({"backend": "onnxruntime"}, "backend: A tensorrt, B onnxruntime"),
        ({"device": {**ORIN, "name": "Orin NX"}}, "device: A NVIDIA Jetson AGX Orin, B Orin NX"),
        ({"conditions": {}}, "power mode: A MAXN, B unknown"),
        (
            {"device": {**ORIN, "jetson": {"model": "NVIDIA Jetson Orin NX"}}},
            "board: A unknown, B NVIDIA Jetson Orin NX",
        ),
        ({"bundle": {"batch": 4}}, "batch: A unknown, B 4"),
    ],
)
def test_measurements_of_other_circumstances_are_not_judged(
    a: Path, tmp_path: Path, edgeexport: Command, changes: dict, what: str
) -> None:
    b = write_bundle(tmp_path / "b", bench=bench(5.0, **changes))
    done = edgeexport("compare", a, b, "--fail-if", SLOWER)
    assert done.code == 6
    assert what in done.err and "--allow-different" in done.err
    done = edgeexport("compare", a, b, "--fail-if", SLOWER, "--allow-different", "--json")
    assert done.code == 0
    decisive = [item for item in json.loads(done.out)["differences"] if item["decisive"]]
    assert f"{decisive[0]['what']}: A {decisive[0]['a']}, B {decisive[0]['b']}" == what
    for condition in ("latency_p50_ms > 20", "parity.cosine < 0.9*A", "bench.predicted.latency_ms > A"):
        assert edgeexport("compare", a, b, "--fail-if", condition).code == 0, condition


def gpu_clock(megahertz: int) -> dict[str, Any]:
    hertz = dict.fromkeys(("current_hz", "min_hz", "max_hz"), megahertz * 1_000_000)
    clock = {"name": "17000000.gpu", "drives": "gpu", **hertz, "pinned": True}
    before = {"power_mode": {"id": 0, "name": "MAXN"}, "online_cpus": "0-11", "clocks": [clock]}
    return {"before": before, "after": before}


def test_the_same_board_at_another_clock_is_not_judged(tmp_path: Path, edgeexport: Command) -> None:
    sides = [
        write_bundle(tmp_path / name, bench=bench(ms, conditions=gpu_clock(megahertz)))
        for name, ms, megahertz in (("slow", 20.0, 612), ("fast", 19.0, 1301), ("other", 19.0, 1300))
    ]
    done = edgeexport("compare", *sides[:2], "--fail-if", SLOWER)
    assert done.code == 6 and "GPU clock: A 612 MHz, B 1301 MHz" in done.err
    assert edgeexport("compare", *sides[1:], "--fail-if", SLOWER).code == 0
    assert edgeexport("compare", *sides[:2], "--fail-if", SLOWER, "--allow-different").code == 0


ENGINE = {"build_seconds": 60.0, "files": {"engine.plan": "ab" * 32}}
OF_ENGINE = {"engine": "engine.plan", "engine_sha256": "ab" * 32}


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize(
    ("condition", "file", "remedy"),
    [(SLOWER, "bench.json", "edgeexport profile"), ("verify.failed > A", "verify.json", "edgeexport verify")],
)
def test_results_of_an_earlier_engine_are_not_judged(
    tmp_path: Path, edgeexport: Command, condition: str, file: str, remedy: str, side: str
) -> None:
    """The engine was built again, and what was found about the one before it stayed."""
    sides = {}
    for name in "ab":
        engine = {**ENGINE, "files": {"engine.plan": "cd" * 32}} if name == side else ENGINE
        results = {"bench": bench(**OF_ENGINE), "verify": parity() | OF_ENGINE}
        sides[name] = write_bundle(tmp_path / name, engine=engine, **results)
    done = edgeexport("compare", sides["a"], sides["b"], "--fail-if", condition, "--allow-different")
    assert done.code == 6
    found = (
        f"{side.upper()} {sides[side]}: {file} is of an earlier engine (engine.plan abababababab..., now cdcdcdcdcdcd"
    )
    assert found in done.err and f"{remedy} {sides[side]}" in done.err
    assert edgeexport("compare", sides["a"], sides["b"], "--fail-if", "tokens.macs > A").code == 0
    shown = edgeexport("compare", sides["a"], sides["b"]).out
    assert (f"different: {file}: A " in shown and "B up to date" in shown) or "A up to date" in shown


def test_results_of_another_build_of_the_bundle_are_not_judged(a: Path, tmp_path: Path) -> None:
    b = write_bundle(tmp_path / "b", bench=bench(bundle={"manifest_sha256": "0" * 64}))
    with pytest.raises(MeasurementError, match=r"bench\.json is of another build of this bundle \(manifest 000000"):
        compare_bundles(a, b, ["latency_p50_ms > 100"])


def test_a_verification_of_model_onnx_says_nothing_of_the_engine(tmp_path: Path) -> None:
    of_graph = parity() | {"engine": "model.onnx", "engine_sha256": None}
    a = write_bundle(tmp_path / "a", engine=ENGINE, verify=parity() | OF_ENGINE)
    b = write_bundle(tmp_path / "b", engine=ENGINE, verify=of_graph)
    with pytest.raises(MeasurementError, match=r"verify\.json is of model\.onnx in ONNX Runtime, not of engine\.plan"):
        compare_bundles(a, b, ["verify.failed > 0"])
    assert not compare_bundles(a, b, ["verify.failed > 0"], allow_different=True).failed
    assert not compare_bundles(a, a, ["verify.failed > 0"]).failed
    c = write_bundle(tmp_path / "c", verify=of_graph)  # without an engine that is what runs
    assert not compare_bundles(c, c, ["verify.failed > 0"]).failed


def test_what_else_makes_it_faster_stands_beside_the_change(tmp_path: Path, edgeexport: Command) -> None:
    samples = [10.0 + 0.01 * (number % 7) for number in range(60)]
    none = {"protocol": {"cuda_graph": False}, "engine_options": {"dla_core": None}}
    graph = {"protocol": {"cuda_graph": True}, "engine_options": {"dla_core": 0}}
    a = write_bundle(tmp_path / "a", bench=bench(samples=samples, **none))
    board = {**ORIN, "jetson": {"model": "NVIDIA Jetson Orin NX"}}
    b = write_bundle(tmp_path / "b", bench=bench(samples=samples, device=board, **graph))
    done = edgeexport("compare", a, b, "--markdown", tmp_path / "c.md")
    assert "different: CUDA graph: A False, B True" in done.out and "different: DLA core: A unknown, B 0" in done.out
    line = next(
        line for line in (tmp_path / "c.md").read_text().splitlines() if line.startswith("Not of the models alone")
    )
    assert "CUDA graph: A False, B True; DLA core: A unknown, B 0" in line
    assert "board: A unknown, B NVIDIA Jetson Orin NX" in line
    assert "measured on NVIDIA Jetson Orin NX)" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize("side", ["a", "b"])
def test_unstable_measurements_are_not_judged(tmp_path: Path, edgeexport: Command, side: str) -> None:
    unstable = {"stable": False, "instabilities": ["throttled: cpu-thermal at 99.0 °C"]}
    sides = {name: write_bundle(tmp_path / name, bench=bench(**(unstable if name == side else {}))) for name in "ab"}
    command = ("compare", sides["a"], sides["b"], "--fail-if")
    done = edgeexport(*command, SLOWER)
    assert done.code == 6
    assert f"{side.upper()} {sides[side]}" in done.err and "cpu-thermal" in done.err
    assert edgeexport(*command, SLOWER, "--allow-unstable").code == 0
    assert edgeexport(*command, "tokens.macs > A").code == 0
    assert edgeexport(*command, "A.latency_p50_ms > 20").code == (6 if side == "a" else 0)


def test_other_versions_are_told_and_judged(a: Path, tmp_path: Path) -> None:
    b = write_bundle(tmp_path / "b", bench=bench(10.0, versions={"tensorrt": "10.16.2"}))
    found = compare_bundles(a, b, [SLOWER])
    assert "version of tensorrt: A 10.3.0, B 10.16.2" in map(str, found.differences)
    assert "version of edgeexport: A 0.1.0, B unknown" in map(str, found.differences)
    assert not found.failed


def test_interval_where_both_have_samples(tmp_path: Path, edgeexport: Command) -> None:
    random = np.random.default_rng(1)
    sides = [
        write_bundle(tmp_path / name, bench=bench(level, samples=random.normal(level, 0.05, 100).round(4).tolist()))
        for name, level in (("a", 10.0), ("b", 11.0))
    ]
    done = edgeexport("compare", *sides, "--json", "--markdown", tmp_path / "c.md")
    change = json.loads(done.out)["latency_change"]
    assert change["verdict"] == "slower" and change["low"] < 1.1 < change["high"] and change["samples"] == [100, 100]
    assert "Compute time, B / A: 1." in (tmp_path / "c.md").read_text()
    assert "slower" in edgeexport("compare", *sides).out


def test_markdown_is_a_table_whatever_the_names(tmp_path: Path, edgeexport: Command) -> None:
    a = write_bundle(tmp_path / "a|b `x`", bench=bench(10.0))
    b = write_bundle(tmp_path / "b", bench=bench(20.0, mode="MODE_15W"))
    file = tmp_path / "c.md"
    done = edgeexport("compare", a, b, "--fail-if", "latency_p50_ms > 15", "--markdown", file)
    assert done.code == 8
    text = file.read_text()
    assert text.startswith("## edgeexport compare: 1 of 1 conditions failed\n")
    assert "| `latency_p50_ms > 15` | **failed** | B.latency\\_p50\\_ms = 20 |" in text
    assert "| `latency_p50_ms` | 10 | 20 | 2 | bench.json, measured |" in text
    assert "`` " in text and "a\\|b" in text
    assert "power mode: A MAXN, B MODE\\_15W **(measured figures are not comparable)**" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {4, 6}


def test_markdown_that_cannot_be_written(a: Path, tmp_path: Path, edgeexport: Command) -> None:
    done = edgeexport("compare", a, a, "--markdown", tmp_path)
    assert done.code == 2
    assert "cannot be written" in done.err


def test_damaged_or_no_bundles(a: Path, tmp_path: Path, edgeexport: Command) -> None:
    assert edgeexport("compare", a, tmp_path / "none").code == 9
    (a / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="changed after the build"):
        compare_bundles(a, a)


def test_on_a_bundle_as_built(tiny_bundle: Path, edgeexport: Command) -> None:
    """The figures that a build leaves are those that the names promise."""
    done = edgeexport(
        "compare", tiny_bundle, tiny_bundle, "--json", "--fail-if", "tokens.macs > A", "--fail-if", "parity.failed > 0",
        "--fail-if", "parity.cosine < 0.999", "--fail-if", "parity.jaccard < 1", "--fail-if", "tokens.out > tokens.mean",
    )  # fmt: skip
    assert done.code == 0, done.err
    metrics = json.loads(done.out)["metrics"]
    tokens = json.loads((tiny_bundle / "tokens.json").read_text())
    assert metrics["tokens.macs"]["a"] == tokens["totals"]["macs"] > 0
    assert metrics["tokens.out"]["b"] == tokens["blocks"][-1]["tokens_out"]
    assert metrics["files.model_onnx_bytes"]["a"] == (tiny_bundle / "model.onnx").stat().st_size


def test_runs_without_torch_and_onnx() -> None:
    blocked = "import sys\nfor name in ('torch', 'onnx', 'timm', 'mmengine'): sys.modules[name] = None\n"
    code = (
        blocked + "import edgeexport.comparison.compare, edgeexport.comparison.markdown, edgeexport.terminal.comparison"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
