"""Every command on a bundle that lists several graphs, which is made by hand: engines, profile, compare, report and others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_list_cases import FACTS, NAMES, write_graph_list
from shared_cases import CommandResult

from edgeexport.backends.engine import build_engine, engine_record, runners_of_graphs
from edgeexport.bundle import open_bundle
from edgeexport.commands.inspect import inspect_bundle, kernels_of_bundle
from edgeexport.commands.lint import lint_subject
from edgeexport.commands.verify import verify_bundle
from edgeexport.comparison.compare import compare_bundles
from edgeexport.cost.ceilings import ceilings_of
from edgeexport.errors import BundleError, ParityError, UsageError
from edgeexport.profile.bench import profile_bundle
from edgeexport.profile.protocol import TimingRequest
from edgeexport.report.html import write_report

Run = Callable[..., CommandResult]
QUICK = TimingRequest(warmup_ms=0, duration_s=0, iterations=3, pairs=4)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_graph_list(tmp_path / "b")


def rewritten(bundle: Path, name: str, change: Callable[[Any], None]) -> None:
    content = json.loads((bundle / name).read_text())
    change(content)
    (bundle / name).write_text(json.dumps(content))


def test_engines_are_built_loaded_and_verified_graph_by_graph(bundle: Path) -> None:
    assert verify_bundle(bundle).executed.engine == "decode.onnx"  # type: ignore[union-attr]
    record = build_engine(bundle, target="cpu").record
    assert next(iter(record.files)) == "engine.decode.onnx" and record.graph == "decode.onnx"
    assert set(record.files) == {f"engine.{name}.onnx" for name in NAMES}
    assert {name: own.graph for name, own in record.graphs.items()} == {
        "embedding": "embedding.onnx", "prefill": "prefill.onnx",
    }  # fmt: skip
    opened = open_bundle(bundle)
    assert engine_record(opened) == record
    runners = runners_of_graphs(opened)
    assert {runner.name for runner in runners.values()} == {"onnxruntime engine"}
    result = verify_bundle(bundle)
    assert result.executed is not None and result.executed.engine == "engine.decode.onnx"
    assert [item.status for item in result.comparisons] == ["passed"]


def test_an_engine_of_a_graph_that_is_missing_or_changed_is_refused(bundle: Path) -> None:
    build_engine(bundle, target="cpu")
    copy = shutil.copytree(bundle, bundle.with_name("c"))
    rewritten(copy, "engine.json", lambda record: record["graphs"].pop("prefill"))
    with pytest.raises(BundleError, match="no engine of prefill"):
        verify_bundle(copy)
    (bundle / "engine.embedding.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="changed after the build"):
        verify_bundle(bundle)
    assert verify_bundle(bundle, engine="none").comparisons[0].status == "passed"


def test_what_a_changed_graph_computes_fails(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as stored:
        arrays: dict[str, Any] = dict(stored)
    arrays["case0/target.0"][0, 0, 5] = 0
    np.savez_compressed(bundle / "golden.npz", **arrays)
    rewritten(bundle, "manifest.json", lambda manifest: manifest["files"].pop("golden.npz"))
    with pytest.raises(ParityError, match=r"target\.0"):
        verify_bundle(bundle)


def test_profile_times_every_graph_and_compares_the_last_in_pairs(bundle: Path) -> None:
    other = shutil.copytree(bundle, bundle.with_name("a"))
    document = profile_bundle(bundle, QUICK, baseline=other, engine="none", allow_unstable=True).document
    assert document["engine"] == "decode.onnx" and document["rows"]["compute"]["n"] >= 3
    assert {name: told["engine"] for name, told in document["graphs"].items()} == {
        "embedding": "embedding.onnx", "prefill": "prefill.onnx",
    }  # fmt: skip
    assert document["graphs"]["prefill"]["rows"]["compute"]["n"] >= 3
    assert document["baseline"]["engine"] == "decode.onnx" and document["baseline"]["protocol"]["pairs"] >= 4
    assert document["layers"]["total_ms"] > 0
    assert open_bundle(bundle).json("bench.json")["graphs"].keys() == document["graphs"].keys()


def test_compare_tells_work_and_cache_of_both(bundle: Path) -> None:
    other = shutil.copytree(bundle, bundle.with_name("a"))
    rewritten(other, "manifest.json", lambda manifest: manifest["prompt"].update(slots=6))
    found = compare_bundles(other, bundle, ["cache.bytes > A"])
    assert not found.failed and found.a.metrics["cache.slots"].value == 6
    assert found.ratio("cache.bytes") == 7 / 10
    assert found.b.metrics["graphs.decode.macs"].value == 4 * 256
    assert compare_bundles(bundle, other, ["cache.bytes > A"]).failed


def test_inspect_tells_plans_and_decoding_on_every_target(bundle: Path) -> None:
    facts = inspect_bundle(bundle)
    kernels = {row["name"]: row["kernels"] for row in facts["figures"]}
    assert kernels == {"embedding": None, "prefill": None, "decode": 1}
    assert facts["figures"][-1]["ms"] > 0
    first = facts["decoding"][0]
    assert (first["context"], first["slots"]) == (FACTS.length, FACTS.length)
    held = FACTS.cache_bytes_per_token * (FACTS.length + FACTS.new_tokens)
    weights = facts["graphs"][-1]["weight_bytes"]
    for target, ms in first["ms"].items():
        assert ms == pytest.approx((weights + held) / (ceilings_of(target).gigabytes_per_s.value * 1e6))
    assert first["ms"].keys() == {"orin", "orin-32gb", "orin-nx", "orin-nano", "thor"}
    assert [plan["model"] for plan in kernels_of_bundle(bundle)["plans"]] == ["decode"]
    assert lint_subject(str(bundle), "orin", ()).ok


def test_the_report_shows_graphs_budgets_and_what_was_measured(bundle: Path) -> None:
    profile_bundle(bundle, QUICK, engine="none", allow_unstable=True)
    text = write_report(bundle).read_text()
    for told in ("prefill.onnx", "Decoding by context and budget", "orin-nano", "Measured", "prompt of 6 tokens"):
        assert told in text
    assert "no plan" in text and "<script" not in text


def test_run_answers_from_engines(bundle: Path, edgeexport: Run) -> None:
    asked = ("run", str(bundle), "--prompt", "ab", "--max-new-tokens", "3", "--json")
    plain = json.loads(edgeexport(*asked).out)
    assert len(plain["tokens"]) == 3 and plain["runner"].startswith("onnxruntime 1")
    build_engine(bundle, target="cpu")
    built = json.loads(edgeexport(*asked).out)
    assert built["tokens"] == plain["tokens"] and built["runner"].startswith("onnxruntime engine")
    assert json.loads(edgeexport(*asked, "--engine", "none").out)["runner"] == plain["runner"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("verify", "{b}", "--data", "."), "compared at its build"),
        (("debug", "{b}"), "several graphs"),
        (("evaluate", "{b}", "--data", "{data}"), "several graphs"),
        (("build", "{b}", "--target", "cpu", "--useDLACore", "0"), "deep-learning accelerator"),
    ],
)
def test_what_cannot_be_done_says_so(
    bundle: Path, tmp_path: Path, edgeexport: Run, words: tuple[str, ...], told: str
) -> None:
    from PIL import Image

    for folder in ("images", "annotations"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "data" / folder / "x.png")
    result = edgeexport(*(word.format(b=bundle, data=tmp_path / "data") for word in words))
    assert result.code == 2 and told in result.err


def test_a_bundle_without_plans_says_so(bundle: Path) -> None:
    (bundle / "kernels.json").unlink()
    with pytest.raises(BundleError, match="has no kernel plan"):
        kernels_of_bundle(bundle)
    assert all(row["kernels"] is None for row in inspect_bundle(bundle)["figures"])


def test_engines_of_another_precision_are_refused(bundle: Path) -> None:
    from edgeexport.backends.contract import EngineOptions

    with pytest.raises(UsageError, match="fp32"):
        build_engine(bundle, target="cpu", options=EngineOptions(precision="fp16"))
