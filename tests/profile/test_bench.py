"""bench.json of simulated devices, what is refused, and the command on a real bundle in ONNX Runtime."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sysfs_trees
from numpy.typing import NDArray
from rich.console import Console
from shared_cases import CommandResult
from sysfs_trees import GPU_CLOCK, put, write_tree
from trace_cases import SimulatedDevice

from edgeexport.backends.contract import DeviceIdentity, EngineRecord
from edgeexport.backends.runner import NodeTime, Timing
from edgeexport.bundle import SCHEMA, Bundle, sha256_of
from edgeexport.device.conditions import read_conditions
from edgeexport.errors import BuildError, BundleError, MeasurementError, UsageError
from edgeexport.profile import bench
from edgeexport.profile.bench import profile_bundle
from edgeexport.profile.bench_document import bench_document
from edgeexport.profile.energy import EnergyRequest
from edgeexport.profile.inputs import Feed, golden_feed
from edgeexport.profile.protocol import TimingRequest, Trace
from edgeexport.profile.timed_bundle import TimedBundle, check_comparable
from edgeexport.profile.timed_differences import timed_differences
from edgeexport.terminal import output
from edgeexport.terminal import profile as profile_terminal

Command = Callable[..., CommandResult]

ORIN = DeviceIdentity("Orin", "aarch64", "8.7")
PC = DeviceIdentity("AMD EPYC", "x86_64")


class SimulatedRunner:
    """Runs on a simulated device; ``at`` is called with the seconds before each run."""

    name, version, output_names = "tensorrt engine", "10.3.0", ("scores",)

    def __init__(self, device: SimulatedDevice, base_ms: float, at: Callable[[float], None] = lambda now: None) -> None:
        self.device, self.base_ms, self.at = device, base_ms, at

    def run(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> dict[str, NDArray]:
        raise AssertionError("profile only times")

    def timed(self, image: NDArray, extra: Mapping[str, NDArray] | None = None) -> Timing:
        self.at(self.device.now)
        return self.device.run(self.base_ms)

    def node_times(self, image: NDArray, extra: Mapping[str, NDArray] | None = None, runs: int = 10) -> list[NodeTime]:
        return [NodeTime("layer", "", 1.0)]


def timed_bundle(
    path: Path,
    runner: SimulatedRunner,
    device: DeviceIdentity = ORIN,
    batch: int = 1,
    precision: str = "fp32",
    **options: Any,
) -> TimedBundle:
    path.mkdir(exist_ok=True)
    manifest = {"schema": SCHEMA, "name": path.name, "target": "orin", "precision": precision, "files": {}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    feed = Feed(np.zeros((batch, 4, 4, 3), np.uint8), {})
    chosen, files = {"cuda_graph": True, **options}, {"engine.plan": "ab" * 32}
    record = EngineRecord(
        "tensorrt", "10.3.0", "orin", precision, "model.trt.onnx", "0" * 64, None, device, chosen, 60.0, files
    )
    return TimedBundle(Bundle(path, manifest), runner, feed, record, "engine.plan", "tensorrt", device)


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Profiles a simulated model of 10 ms on an AGX Orin: ``simulated(at=..., baseline_ms=..., **arguments)``."""
    device = SimulatedDevice(5)
    root = write_tree(tmp_path / "root", "agx_orin")

    def call(
        at: Callable[[float], None] = lambda now: None,
        baseline_ms: float | None = None,
        options: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> bench.Bench:
        model = timed_bundle(tmp_path / "model", SimulatedRunner(device, 10.0, at), **(options or {}))
        bundles = {tmp_path / "model": model}
        if baseline_ms is not None:
            arguments["baseline"] = tmp_path / "dense"
            bundles[tmp_path / "dense"] = timed_bundle(tmp_path / "dense", SimulatedRunner(device, baseline_ms, at))
        monkeypatch.setattr(bench, "load_timed_bundle", lambda path, engine: bundles[path])
        return profile_bundle(tmp_path / "model", root=root, clock=device.clock, **arguments)

    call.root, call.folder, call.device = root, tmp_path / "model", device  # type: ignore[attr-defined]
    return call


def test_document(simulated: Any) -> None:
    found = simulated(request=TimingRequest(percentiles=(95.0,)))
    written = json.loads((simulated.folder / "bench.json").read_text())
    assert written == json.loads(json.dumps(found.document))
    assert found.path == simulated.folder / "bench.json"
    assert written["schema"] == "edgeexport.bench/1" and written["provenance"] == "measured"
    assert written["backend"] == "tensorrt" and written["versions"]["tensorrt"] == "10.3.0"
    assert written["device"]["name"] == "Orin"
    assert written["device"]["jetson"] == {
        "model": "NVIDIA Jetson AGX Orin Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.1 - 6.2",
    }
    rows = written["rows"]
    assert rows["compute"]["n"] == written["protocol"]["runs"] == len(written["samples"]["compute"]) >= 250
    assert rows["compute"]["p50"] == pytest.approx(10, rel=0.05) and "p95" in rows["compute"]
    assert rows["enqueue"]["p50"] == 0.05 and rows["transfer"] is None and rows["end_to_end"]["p50"] > 10
    assert rows["compute"]["max"] == pytest.approx(max(written["samples"]["compute"]), abs=1e-5)
    protocol = written["protocol"]
    assert protocol["cuda_graph"] is True and protocol["transfers"] is False and protocol["warmup_ms"] == 200
    conditions = written["conditions"]
    assert conditions["readings"] >= 3 and conditions["before"]["power_mode"] == {"id": 0, "name": "MAXN"}
    assert written["stable"] is True and written["instabilities"] == [] and written["notes"] == []
    assert written["baseline"] is None and written["power"] is None and written["layers"] is None


def test_the_engine_that_was_timed_is_told_by_its_hash(simulated: Any) -> None:
    document = simulated(baseline_ms=15.0).document
    assert document["engine_sha256"] == document["baseline"]["engine_sha256"] == "ab" * 32
    assert document["bundle"]["manifest_sha256"] == sha256_of(simulated.folder / "manifest.json")


def test_an_earlier_power_file_does_not_stay(simulated: Any) -> None:
    simulated.folder.mkdir()
    (simulated.folder / "power.csv").write_text("of another run")
    simulated()
    assert sorted(path.name for path in simulated.folder.iterdir()) == ["bench.json", "manifest.json"]


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("var/lib/nvpmodel/status", "pmode:0003", "power mode MAXN (id 0) became MODE_50W (id 3)"),
        (f"{GPU_CLOCK}/cur_freq", 816_000_000, "gpu clock 17000000.gpu 1300 became 816 MHz"),
        ("sys/class/hwmon/hwmon5/oc3_event_cnt", 5, "throttled: instantaneous over-current (oc3), 1 event"),
    ],
)
def test_a_run_during_which_the_device_changed_is_refused(
    simulated: Any, path: str, content: object, expected: str
) -> None:
    def at(now: float) -> None:
        if now > 1.5:
            put(simulated.root, path, content)

    with pytest.raises(MeasurementError, match="the device changed during the measurement") as error:
        simulated(at)
    assert error.value.exit_code == 6 and expected in str(error.value) and "--allow-unstable" in str(error.value)
    assert not (simulated.folder / "bench.json").exists()


def test_what_passes_in_between_is_seen(simulated: Any) -> None:
    """Throttled from 1 to 2 of 3 seconds, with everything as before at the end."""
    alert = f"{sysfs_trees.cooling(simulated.root, 'gpu-throttle-alert')}/cur_state"
    with pytest.raises(MeasurementError, match="gpu-throttle-alert is at work"):
        simulated(lambda now: put(simulated.root, alert, int(1 < now < 2.4)))


def test_a_device_without_sensors_is_watched_by_its_latencies(simulated: Any) -> None:
    shutil.rmtree(simulated.root)
    simulated.device.slowed_from_s, simulated.device.slowed_by = 1.8, 1.4
    with pytest.raises(MeasurementError, match=r"the latency rose for good by (3|4)\d%"):
        simulated()
    simulated.device.slowed_from_s = 1e9
    assert "neither power mode, clocks nor temperature" in simulated().document["notes"][0]


def test_unstable_figures_are_kept_when_asked_for_and_marked(simulated: Any) -> None:
    found = simulated(
        lambda now: put(simulated.root, "var/lib/nvpmodel/status", f"pmode:000{int(now > 1)}"), allow_unstable=True
    ).document
    assert found["stable"] is False
    assert found["instabilities"] == ["power mode MAXN (id 0) became MODE_15W (id 1)"]


def test_loose_clocks_are_noted(simulated: Any) -> None:
    put(simulated.root, f"{GPU_CLOCK}/min_freq", 306_000_000)
    assert simulated().document["notes"] == ["clocks were not pinned: 17000000.gpu (on a Jetson: sudo jetson_clocks)"]


def test_baseline(simulated: Any) -> None:
    found = simulated(baseline_ms=15.0).document["baseline"]
    speedup = found["speedup"]
    assert speedup["low"] <= 1.5 <= speedup["high"] and speedup["high"] - speedup["low"] < 0.1
    assert speedup["verdict"] == "faster" and speedup["confidence"] == 0.99
    assert found["rows"]["baseline"]["compute"]["p50"] == pytest.approx(15, rel=0.06)
    assert found["rows"]["candidate"]["compute"]["p50"] == pytest.approx(10, rel=0.06)
    assert found["protocol"]["pairs"] >= 32 and found["bundle"]["name"] == "dense"


def test_a_comparison_during_which_the_device_throttles_is_refused(simulated: Any) -> None:
    simulated.device.slowed_from_s, simulated.device.slowed_by = 6.5, 1.3
    with pytest.raises(
        MeasurementError, match=r"comparison, baseline: the latency rose .*; comparison, candidate: the "
    ):
        simulated(baseline_ms=15.0)


def test_what_differs_besides_the_model_stands_beside_the_speed_up(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert simulated(baseline_ms=15.0).document["baseline"]["differences"] == []
    options = {"precision": "fp16", "cuda_graph": False, "dla_core": 0, "inner_outputs": ["of the model"]}
    found = simulated(baseline_ms=15.0, options=options)
    assert found.document["baseline"]["differences"] == [
        {"what": "precision", "baseline": "fp32", "candidate": "fp16"},
        {"what": "CUDA graph", "baseline": "on", "candidate": "off"},
        {"what": "DLA core", "baseline": "none", "candidate": "0"},
    ]
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    for module in (profile_terminal, output):
        monkeypatch.setattr(module, "results_console", console)
    profile_terminal.print_bench(found)
    assert (
        "not of the models alone: precision: baseline fp32, here fp16; CUDA graph: baseline on, here off; "
        "DLA core: baseline none, here 0"
    ) in stream.getvalue()


def test_other_inputs_and_modes_are_differences_too(tmp_path: Path) -> None:
    runner = SimulatedRunner(SimulatedDevice(0), 1.0)
    one = timed_bundle(tmp_path / "a", runner, power_mode="MAXN")
    other = timed_bundle(tmp_path / "b", runner, power_mode="id 7")
    other = replace(other, feed=Feed(np.zeros((1, 8, 8, 3), np.uint8), {}))
    assert timed_differences(one, other) == [
        {"what": "input", "baseline": "uint8 1 x 4 x 4 x 3", "candidate": "uint8 1 x 8 x 8 x 3"},
        {"what": "built in power mode", "baseline": "MAXN", "candidate": "id 7"},
    ]


def test_an_engine_built_in_another_power_mode_is_noted(simulated: Any) -> None:
    assert simulated(options={"power_mode": "MAXN"}).document["notes"] == []
    (note,) = simulated(options={"power_mode": "MODE_30W"}).document["notes"]
    assert note.startswith("the engine was built in power mode MODE_30W and timed in MAXN: ")
    put(simulated.root, "etc/nvpmodel.conf", "")  # no names: numbers are compared
    assert simulated(options={"power_mode": "id 0"}).document["notes"] == []


@pytest.mark.parametrize(
    ("runs", "percentiles", "expected"),
    [
        (99, (), "p99: of 99 runs hardly more than the slowest; 100 or more tell it (--iterations)"),
        (100, (), ""),
        (300, (99.9, 100.0, 1.0), "p99.9: of 300 runs hardly more than the slowest; 1,000 or more tell it (--iterations)"),
        (1000, (99.9,), ""),
        (8, (), "p90 and p99: of 8 runs hardly more than the slowest; 100 or more tell it (--iterations)"),
    ],
)  # fmt: skip
def test_percentiles_of_few_runs_are_noted(
    simulated: Any, runs: int, percentiles: tuple[float, ...], expected: str
) -> None:
    readings = [read_conditions(simulated.root)]
    samples = tuple(Timing(10.0 + 0.001 * (number % 5), None, None, 11.0) for number in range(runs))
    model = timed_bundle(simulated.folder, SimulatedRunner(simulated.device, 10.0))
    trace = Trace(samples, warmup_runs=1, seconds=1.0)
    document = bench_document(model, TimingRequest(percentiles=percentiles), trace, readings, simulated.root)
    assert document["notes"] == ([expected] if expected else [])


def test_power(simulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeexport.profile.energy._LEAST_SETTLING_S", 0.0)
    monkeypatch.setattr("edgeexport.profile.energy._AVERAGES", 0)
    monkeypatch.setattr("edgeexport.profile.energy.SLOWEST_HZ", 0.0)  # a busy machine may not get to the thread

    simulated.device.drift_per_s = 0.0  # of the minutes that pass in simulated time

    def slow_sample(*arguments: Any, **options: Any) -> Any:
        # The simulated clock stands still while nothing runs; samples need one that goes on.
        options.pop("clock")
        return measure(*arguments[:3], **options)

    measure = bench.measure_energy
    monkeypatch.setattr(bench, "measure_energy", slow_sample)
    found = simulated(power=True, energy=EnergyRequest(idle_s=0.3, load_s=0.3)).document["power"]
    watts = 0.843 * 6.170 + 0.780 * 3.437 + 4.968 * 0.953
    assert found["load_w"] == pytest.approx(watts) and found["idle_w"] == pytest.approx(watts)
    assert found["net_mj"] == pytest.approx(0, abs=1e-6) and found["gross_mj"] > 0
    assert list(found["total"]) == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"] and found["sensor_average_ms"] == 430
    lines = (simulated.folder / "power.csv").read_text().splitlines()
    assert lines[0] == "seconds,phase,VDD_GPU_SOC_w,VDD_CPU_CV_w,VIN_SYS_5V0_w,VDDQ_VDD2_1V8AO_w,total_w"
    assert {line.split(",")[1] for line in lines[1:]} == {"idle", "load"}


def test_power_without_rails_is_refused_before_anything_runs(simulated: Any) -> None:
    shutil.rmtree(simulated.root / "sys/class/hwmon")
    with pytest.raises(MeasurementError, match="holds no power sensor"):
        simulated(lambda now: pytest.fail("it ran"), power=True)


def test_folder_that_cannot_be_written_is_refused_before_anything_runs(
    simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(BuildError, match="cannot be written"):
        simulated(lambda now: pytest.fail("it ran"))


def test_incomparable_baselines(tmp_path: Path) -> None:
    device = SimulatedDevice(0)
    candidate = timed_bundle(tmp_path / "a", SimulatedRunner(device, 1.0))
    other_runner = SimulatedRunner(device, 1.0)
    other_runner.name = "onnxruntime"
    for baseline, message in (
        (timed_bundle(tmp_path / "b", other_runner), "runs in onnxruntime"),
        (timed_bundle(tmp_path / "c", SimulatedRunner(device, 1.0), PC), "runs on AMD EPYC"),
        (timed_bundle(tmp_path / "d", SimulatedRunner(device, 1.0), batch=4), "takes batches of 4"),
    ):
        with pytest.raises(UsageError, match=message):
            check_comparable(baseline, candidate)
    check_comparable(timed_bundle(tmp_path / "e", SimulatedRunner(device, 9.0)), candidate)


def test_cpu_has_no_cuda_graph(tmp_path: Path) -> None:
    on_pc = timed_bundle(tmp_path / "a", SimulatedRunner(SimulatedDevice(0), 1.0), PC)
    assert on_pc.cuda_graph is None and not on_pc.on_gpu


# -- real bundles in ONNX Runtime -------------------------------------------------------------------------------------

QUICK = ("--duration", "0.05", "--warmUp", "1", "--allow-unstable")


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_command_in_json(edgeexport: Command, bundle: Path) -> None:
    result = edgeexport("profile", bundle, *QUICK, "--iterations", "12", "--percentile", "75,95", "--json")
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document == json.loads((bundle / "bench.json").read_text())
    assert document["engine"] == "model.onnx" and document["backend"] == "onnxruntime"
    assert document["rows"]["compute"]["n"] >= 12 and document["rows"]["transfer"] is None
    assert {"p50", "p75", "p90", "p95", "p99"} <= set(document["rows"]["end_to_end"])
    assert document["protocol"]["cuda_graph"] is None and document["protocol"]["input"] == "golden.npz, case0"
    assert "... time model.onnx" in result.err


def test_command_with_a_baseline(edgeexport: Command, bundle: Path) -> None:
    result = edgeexport("profile", bundle, *QUICK, "--baseline", bundle)
    assert result.code == 0, result.err
    assert (
        "speed-up over tiny" in result.out
        and "candidate compute" in result.out
        and "no CUDA graph on a CPU" in result.out
    )
    assert json.loads((bundle / "bench.json").read_text())["baseline"]["speedup"]["rounds"] >= 16


def test_the_engine_is_what_is_timed(edgeexport: Command, bundle: Path) -> None:
    assert edgeexport("build", bundle, "--target", "cpu").code == 0
    assert edgeexport("profile", bundle, *QUICK).code == 0
    document = json.loads((bundle / "bench.json").read_text())
    assert document["engine"] == "engine.onnx" and document["engine_options"]["target"] == "cpu"
    assert edgeexport("profile", bundle, *QUICK, "--engine", "none").code == 0
    assert json.loads((bundle / "bench.json").read_text())["engine"] == "model.onnx"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--power",), 6, "holds no power sensor"),
        (("--percentile", "x"), 2, "'x' is no number"),
        (("--iterations", "0"), 2, "--iterations 0"),
        (("--engine", "fast"), 2, "--engine fast"),
        (("--baseline", "/nowhere"), 9, "is no bundle folder"),
    ],
)
def test_bad_requests(
    edgeexport: Command,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr(bench, "find_rails", lambda root: _no_rails())
    result = edgeexport("profile", bundle, *QUICK, *arguments)
    assert result.code == code and message in result.err and result.out == ""
    assert "Traceback" not in result.err and not (bundle / "bench.json").exists()


def _no_rails() -> None:
    from edgeexport.device.power import find_rails

    find_rails(Path("/nowhere"))


def test_layers_stand_beside_the_latency(edgeexport: Command, bundle: Path) -> None:
    result = edgeexport("profile", bundle, *QUICK)
    document = json.loads((bundle / "bench.json").read_text())
    layers = document["layers"]
    assert layers["provenance"] == "measured" and layers["attributed_share"] > 0.5
    assert any(part["title"] in result.out for part in layers["parts"])
    assert (bundle / "engine.profile.json").is_file()
    assert document["predicted"] is None  # of this processor nothing is known


def test_prediction_stands_beside_the_measurement_of_its_device(simulated: Any, bundle: Path) -> None:
    def predicted() -> Any:
        return simulated().document["predicted"]

    assert predicted() is None  # no work.json
    shutil.copy(bundle / "work.json", simulated.folder)
    found = predicted()
    assert found["provenance"] == "predicted" and found["target"] == "orin" and found["power_mode"] == "MAXN"
    assert found["total_ms"] > 0
    put(simulated.root, "var/lib/nvpmodel/status", "pmode:0002")
    assert predicted() is None  # that mode has another clock: this is another variant of the module
    for file in ("cur_freq", "min_freq", "max_freq"):
        put(simulated.root, f"{GPU_CLOCK}/{file}", 612_000_000)
    assert predicted()["power_mode"] == "30W" and predicted()["total_ms"] > found["total_ms"]
    put(simulated.root, "proc/device-tree/model", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit")
    assert predicted() is None  # the engine is for another module
    assert "Orin NX" in simulated().document["no_prediction"]


def test_damaged_golden(bundle: Path) -> None:
    opened = Bundle(bundle, {})
    (bundle / "golden.npz").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(BundleError, match=r"golden.npz \| cannot be read"):
        golden_feed(opened)
    np.savez(bundle / "golden.npz", weights=np.array("none"))
    with pytest.raises(BundleError, match=r"golden.npz: case0/image \| is not there"):
        golden_feed(opened)
