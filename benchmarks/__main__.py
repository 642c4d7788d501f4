"""Runs the benchmarks: one JSON object on standard output, tables and progress on standard error.

``python -m benchmarks [macs] [tail] [ti] [b] [adaptive] [merging]`` runs a selection; all without arguments.
``python -m benchmarks accuracy --data DIR --out FILE`` measures the trained scenes recipes on held-out scenes.
``python -m benchmarks block-table RECIPE --out FILE`` writes a latency table for `edgeexport calibrate --latency-ms`.
``python -m benchmarks build [ti] [s] [b] [l] [--size N]`` measures builds beside torch's exporter alone.
``python -m benchmarks evidence --out FILE`` measures merging on DINOv2 ViT-S/14, fetched with pip, and writes docs/evidence.md.
``python -m benchmarks half-precision [RECIPE ...]`` compares FP16 graphs with the FP32 model that follows their decisions.
``python -m benchmarks predicted [RECIPE ...] [--target T]`` predicts latencies on a Jetson, per precision and power mode.
``python -m benchmarks kernels`` sets the kernel plans of other exports beside ours.
``python -m benchmarks language-model --out FILE`` measures cache budgets on SmolLM2-135M, fetched with pip, and writes a page.
``python -m benchmarks lint`` plays the lint against TensorRT-RTX's parser: exit 1 where they differ without a reason.
``python -m benchmarks pays [RECIPE ...]`` predicts each shipped recipe beside its dense model, from kernel plans.
``python -m benchmarks plans [RECIPE ...]`` prints kernel plans of the graphs as exported and as TensorRT gets them.
``python -m benchmarks segmenters --data DIR`` measures the trained scenes Segmenter, dense and reduced, on held-out scenes.
``python -m benchmarks tune [dinov2] [onnx] [scenes]`` sets what `edgeexport tune` finds beside `calibrate` and shipped recipes.
``python -m benchmarks tune-scaling`` measures what coordination of its workers costs, with tasks that sleep.
``python -m benchmarks roofline`` checks the latency model of predictions: exit 1 where it is further off than --limit.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import onnxruntime
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import (
    accuracy,
    block_table,
    builds,
    evidence,
    evidence_page,
    half_precision,
    kernels,
    language_model,
    language_model_page,
    language_model_speed,
    lint_agreement,
    merging,
    models,
    pays,
    plans,
    predicted,
    published,
    roofline,
    segmenters,
    tail,
    tuning,
)
from benchmarks.pairing import THREADS, share_one_pool
from edgeexport.errors import EdgeExportError
from edgeexport.recipe import load_recipe
from examples.smollm2 import wheel

_PARTS = ("macs", "tail", "ti", "b", "adaptive", "merging")
_NOISY = 1.5
_FAMILIES = {"ti": "segvit_ti", "b": "segvit"}
_err = Console(stderr=True, width=None if sys.stderr.isatty() else 140)


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(_PARTS)}.")] = None,
    rounds: Annotated[
        int, typer.Option(help="Counted rounds of the ViT-Ti and DeiT-S comparisons; ViT-B takes half.")
    ] = 20,
) -> None:
    """Runs the chosen parts."""
    chosen = parts or list(_PARTS)
    unknown = sorted(set(chosen) - set(_PARTS))
    if unknown:
        raise typer.BadParameter(f"unknown part {unknown[0]}; known: {', '.join(_PARTS)}")
    share_one_pool()
    torch.set_num_threads(THREADS)
    result: dict[str, Any] = {
        "provenance": "measured",
        "machine": f"{platform.machine()}, {THREADS} threads",
        "versions": {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__},
    }
    if "macs" in chosen:
        result["macs"] = {"provenance": "computed; published: the hybrid paper", "rows": published.compare_published()}
        _show_macs(result["macs"]["rows"])
        result["macs_merging"] = {
            "provenance": f"computed; published: ToMe's paper; {published.DSM_NOTE}",
            "tome": published.compare_tome(),
            "dsm": published.compare_dsm(),
        }
        _show_rows("ToMe: GMAC (computed) beside its paper's", result["macs_merging"]["tome"])
        _show_rows("DSM: GMAC (computed) beside what is published", result["macs_merging"]["dsm"])
        _err.print(published.DSM_NOTE, highlight=False)
    if "tail" in chosen:
        _err.print("... class-map tail")
        result["tail"] = tail.measure()
    for part, family in _FAMILIES.items():
        count = rounds if part == "ti" else max(rounds // 2, 4)
        if part in chosen:
            result[family] = models.measure_family(family, count, _say)
            _show_family(family, result[family])
        if "adaptive" in chosen:
            found = models.measure_adaptive(family, max(count // 2, 4), _say)
            result[f"{family}_adaptive"] = found
            _err.print(f"{family}: torch adaptive / bundle {found['adaptive_over_bundle']}", highlight=False)
    if "merging" in chosen:
        result["merging"] = {label: _merging(label, name, rounds) for label, name in merging.RECIPES.items()}
    if "tail" in result:
        _err.print_json(json.dumps({"tail": result["tail"]}))
    print(json.dumps(result, indent=1))


def measure_builds(
    models: Annotated[
        list[str] | None, typer.Argument(help=f"Some of: {', '.join(builds.MODELS)}; all by default.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Pixels of a side; repeatable. 224 and 512 by default.")
    ] = None,
    target: Annotated[str, typer.Option(help="What is built for.")] = "orin",
    out: Annotated[Path | None, typer.Option(help="JSON file to write as well.")] = None,
) -> None:
    """Time and peak memory of builds with ToMe beside torch's exporter on the dense model, each in a process of its own."""
    unknown = sorted(set(models or []) - set(builds.MODELS))
    if unknown:
        raise typer.BadParameter(f"unknown model {unknown[0]}; known: {', '.join(builds.MODELS)}")
    try:
        rows = builds.build_rows(models or list(builds.MODELS), size or builds.SIZES, target, _say)
    except subprocess.CalledProcessError as error:
        _err.print(f"error: {' '.join(error.cmd)}: {error.stderr}", highlight=False, markup=False)
        raise typer.Exit(1) from None
    shown = [
        {key: row[key] for key in ("model", "pixels", "weights_mb")}
        | {
            f"{who} {what}": row[who][key]
            for what, key in (("s", "seconds"), ("GB", "peak_gb"))
            for who in ("build", "exporter")
        }
        | {"times as long": row["times"], "apart from plans": row["times_apart_from_plans"]}
        | {"by processor time": row["cpu_times"]}
        | {"verify": f"{row['verify_share']:.0%}", "kernel plans": f"{row['plans_share']:.0%}"}
        for row in rows
    ]
    _show_rows(
        f"Builds for {target} with ToMe, r = {builds.MERGED}, beside torch's exporter on the dense model (measured)",
        shown,
    )
    slow = [f"{row['model']} at {row['pixels']}" for row in rows if row["times"] > builds.TIMES_ALLOWED]
    if slow:
        _err.print(f"above {builds.TIMES_ALLOWED:g} times: {', '.join(slow)}", highlight=False)
    versions = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    document = {
        "provenance": "measured",
        "machine": platform.machine(),
        "target": target,
        "versions": versions,
        "rows": rows,
    }
    text = json.dumps(document, indent=1) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    print(text, end="")


def write_block_table(
    recipe: Annotated[str, typer.Argument(help="A SegViT recipe; its reduced form is measured beside the table.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    rounds: Annotated[int, typer.Option(min=2, help="Counted rounds.")] = 20,
) -> None:
    """Measures the parts of a SegViT in ONNX Runtime here: a latency table for `edgeexport calibrate`."""
    share_one_pool()
    try:
        found = block_table.measure_block_table(load_recipe(recipe), rounds, _say)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    if found["noise"] > _NOISY:
        _err.print(
            f"times vary by a factor of {found['noise']}: measure again while nothing else runs", highlight=False
        )
    print(json.dumps(found, indent=1))


def write_accuracy(
    data: Annotated[Path, typer.Option(help="Folder of examples.scenes.generate.")],
    out: Annotated[Path, typer.Option(help="JSON file to write; docs/accuracy.md's table goes to standard output.")],
    split: Annotated[str, typer.Option(help="Held out from training and from calibration.")] = "test",
    threshold_split: Annotated[
        str, typer.Option(help="The adaptive forms' thresholds are chosen on these scenes.")
    ] = "val",
    rounds: Annotated[int, typer.Option(min=4, help="Paired rounds of timing.")] = 40,
    limit: Annotated[int | None, typer.Option(min=2, help="Only the first images.")] = None,
    work: Annotated[Path, typer.Option(help="Bundles and evaluations; an interrupted run goes on.")] = Path(
        "work_dirs/accuracy"
    ),
) -> None:
    """Accuracy, work and latency of the trained scenes recipes, adaptive and fixed."""
    share_one_pool()
    torch.set_num_threads(THREADS)
    try:
        found = accuracy.measure_accuracy(data, split, threshold_split, rounds, limit, work, _say)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    print(accuracy.markdown_table(found))


def write_evidence(
    out: Annotated[Path, typer.Option(help="The page to write; a JSON file of all figures is written beside it.")],
    work: Annotated[Path, typer.Option(help="Wheels, weights, builds; an interrupted run goes on.")] = Path(
        "work_dirs/evidence"
    ),
    textiles: Annotated[int, typer.Option(min=0, help="Pictures of textiles, of every class as many; 0: none.")] = 300,
    built: Annotated[
        list[int] | None, typer.Option(help="Rates that are built, for kernels and time; repeatable. 0: none.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Paired rounds of timing; 0: none.")] = 40,
    flips: Annotated[
        int, typer.Option(min=0, help="Photographs on which float16's merges are held to float32's; 0: none.")
    ] = 8,
) -> None:
    """What merging does to DINOv2 ViT-S/14 with real weights: features, saliency, neighbours, kernels, time."""
    rates = [rate for rate in (evidence.BUILT if built is None else built) if rate]
    given = " ".join(
        [f"--textiles {textiles} --rounds {rounds} --flips {flips}", *(f"--built {rate}" for rate in built or ())]
    )
    try:
        found = evidence.measure_evidence(work, textiles, rates, rounds, THREADS, _say, flips)
        command = f"python -m benchmarks evidence --out {out} {given}"
        page = evidence_page.evidence_page(found, command, out.with_suffix(".json").name)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
        out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    print(page)


def compare_half_precision(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes, without .py; all families by default.")] = None,
) -> None:
    """Prints errors and decisions of FP16 graphs."""
    half_precision.print_half_precision(names or [])


def predict_latencies(
    recipes: Annotated[list[str] | None, typer.Argument(help="The first is what the others are set against.")] = None,
    target: Annotated[str, typer.Option(help="orin, orin-nx, orin-nano or thor.")] = "orin",
) -> None:
    """Predicts latencies by roofline, in FP32 and FP16; nothing is measured."""
    try:
        found = predicted.predicted_latencies(recipes or predicted.RECIPES, target, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    rows = [
        {
            "recipe": row["recipe"],
            "precision": row["precision"],
            **{mode: f"{ms} ({row['of_first'][mode]})" for mode, ms in row["ms"].items()},
        }
        for row in found["rows"]
    ]
    _show_rows(f"Predicted ms on {target}, and how many times as fast as the first", rows)
    print(json.dumps(found, indent=1))


def check_roofline(
    rounds: Annotated[int, typer.Option(min=2, help="Counted rounds.")] = 20,
    limit: Annotated[float, typer.Option(min=0.0, help="Largest error of a prediction.")] = roofline.LARGEST_ERROR,
    out: Annotated[Path | None, typer.Option(help="JSON file to write as well.")] = None,
) -> None:
    """Calibrates the latency model on the dense SegViT-Ti and predicts the other ViT-Ti recipes."""
    share_one_pool()
    torch.set_num_threads(THREADS)
    try:
        found = roofline.measure_roofline(rounds, _say)
        text = json.dumps(found, indent=1) + "\n"
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, encoding="utf-8")
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    _show_rows(
        "Latency model: predicted and measured ms",
        [{**row, "of_dense": _spread(row["of_dense"]), "error": f"{row['error']:+.1%}"} for row in found["rows"]],
    )
    if found["noise"] > _NOISY:
        _err.print(
            f"times vary by a factor of {found['noise']}: measure again while nothing else runs", highlight=False
        )
    print(text, end="")
    if found["largest_error"] > limit:
        raise typer.Exit(1)


def compare_lint() -> None:
    """Lint and TensorRT-RTX's parser on the single-operator models of onnx's tests."""
    found = lint_agreement.measure_agreement(_say)
    for key, by in (
        ("refused_without_error", "operator"),
        ("refused_and_newer", "operator"),
        ("error_but_taken", "rule"),
    ):
        groups = Counter((row[by], row["reason"]) for row in found[key])
        rows = [{by: name, "models": count, "reason": reason} for (name, reason), count in sorted(groups.items())]
        _show_rows(f"{key.replace('_', ' ')}: {len(found[key])}", rows or [{by: "none"}])
    print(json.dumps(found, indent=1))
    if found["unexplained"]:
        raise typer.Exit(1)


def _merging(label: str, recipe: str, rounds: int) -> dict[str, Any]:
    count = rounds if label.startswith("DeiT-S") else max(rounds // 2, 4)
    found = merging.measure_merging(load_recipe(recipe), count, lambda stage: _say(f"{label}: {stage}"))
    _show_merging(label, found)
    return found


def _say(stage: str) -> None:
    _err.print(f"... {stage}", highlight=False)


def _show_macs(rows: list[dict[str, Any]]) -> None:
    table = Table(
        title="GMAC per image (computed), policy network apart; published: the hybrid paper", title_justify="left"
    )
    for column in ("recipe", "tokens", "GMAC", "with policy", "published", "of dense", "published of dense"):
        table.add_column(column, justify="left" if column in ("recipe", "tokens") else "right")
    for row in rows:
        tokens = " > ".join(map(str, row["tokens"]))
        figures = [row[key] for key in ("gmac", "gmac_with_policy", "published_gmac", "of_dense", "published_of_dense")]
        table.add_row(row["recipe"], tokens, *map(str, figures))
    _err.print(table)


def _show_rows(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*("" if row.get(column) is None else str(row[column]) for column in rows[0]))
    _err.print(table)


def _show_family(family: str, found: dict[str, Any]) -> None:
    table = Table(title=f"{family}: measured, {found['rounds']} paired rounds", title_justify="left")
    for column in ("form", "ms", "speed-up (q1..q3)", "GMAC", "MAC ratio", "executed MAC ratio", "realised share"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, row in found["forms"].items():
        speedup = row["speedup"]
        table.add_row(
            name,
            f"{row['latency_ms']:.1f}",
            f"{speedup['median']:.2f} ({speedup['q1']:.2f}..{speedup['q3']:.2f})",
            f"{row['gmac_convention']:.2f}",
            f"{row['mac_ratio_convention']:.2f}",
            f"{row['mac_ratio_executed']:.2f}",
            f"{row['realised_share']:.2f}",
        )
    _err.print(table)


def _show_merging(label: str, found: dict[str, Any]) -> None:
    title = f"{label}: measured, {found['rounds']} paired rounds; {found['tokens_out']} tokens remain"
    table = Table(title=title, title_justify="left")
    for column in ("form", "ms", "speed-up (q1..q3)", "executed GMAC", "executed MAC ratio", "realised share"):
        table.add_column(column, justify="left" if column == "form" else "right")
    for name, row in found["forms"].items():
        table.add_row(
            name,
            f"{row['latency_ms']:.1f}",
            _spread(row["speedup"]),
            f"{row['gmac_executed']:.2f}",
            f"{row['mac_ratio_executed']:.2f}",
            f"{row['realised_share']:.2f}",
        )
    _err.print(table)
    _err.print(
        f"patched timm / ours: {_spread(found['patched_over_merged'])}; matching and merging: "
        f"{_spread(found['share_by_difference'])} of the time by difference, {found['share_by_profile']['together']:.2f} "
        f"by profile; MAC ratio by convention {found['mac_ratio_convention']:.2f}",
        highlight=False,
    )


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['q1']:.2f}..{ratio['q3']:.2f})"


def show_plans(
    recipes: Annotated[
        list[str] | None, typer.Argument(help="Names or paths; NAME:dense is the model without its reductions.")
    ] = None,
    target: Annotated[str, typer.Option(help="What the time is predicted for.")] = "orin",
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
) -> None:
    """TensorRT-RTX's kernel plans for SM86: of the graphs as torch exports them, and in the forms that TensorRT gets."""
    try:
        rows = plans.plan_rows(recipes or plans.RECIPES, target, precision, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    shown = [{name: value for name, value in row.items() if name != "divided"} for row in rows]
    _show_rows(f"Kernel plans for SM86 in {precision.upper()}, seeded weights; times are predicted", shown)
    columns = dict.fromkeys(name for row in rows for name in row["divided"])
    parts = [
        {key: row[key] for key in ("recipe", "form")} | dict.fromkeys(columns, "") | row["divided"] for row in rows
    ]
    _show_rows("The kernels with plugins, by who makes them and by part of the model", parts)
    print(json.dumps({"provenance": "predicted", "target": target, "precision": precision, "rows": rows}, indent=1))


def show_pays(
    recipes: Annotated[list[str] | None, typer.Argument(help="Names or paths; every shipped one that reduces.")] = None,
    target: Annotated[str, typer.Option(help="What the time is predicted for.")] = "orin",
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
) -> None:
    """Predicted time of each recipe beside its dense model, in the target's first power mode."""
    try:
        rows = pays.pays_rows(recipes or [], target, precision, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    shown = [
        {"recipe": row["recipe"]}
        | {
            form: "{reduced ms} of {dense ms} ({dense over reduced})".format_map(row[form])
            for form in pays.FORMS
            if form in row
        }
        | ({"missing": row["missing"]} if "missing" in row else {})
        for row in rows
    ]
    columns = dict.fromkeys(key for row in shown for key in row)
    _show_rows(
        f"Predicted ms on {target} in {precision.upper()}: reduced of dense (times as fast)",
        [dict.fromkeys(columns, "") | row for row in shown],
    )
    print(json.dumps({"provenance": "predicted", "target": target, "precision": precision, "rows": rows}, indent=1))


def show_kernels(target: Annotated[str, typer.Option(help="What the time is predicted for.")] = "orin") -> None:
    """FP16 kernel plans for SM86 of the same models by timm, a patched timm, transformers (where installed) and edgeexport."""
    try:
        rows = kernels.kernel_rows(target, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    _show_rows("Kernel plans for SM86 in FP16, seeded weights; times are predicted", rows)
    print(json.dumps({"provenance": "predicted", "target": target, "precision": "fp16", "rows": rows}, indent=1))


def write_language_model(
    out: Annotated[Path, typer.Option(help="Markdown page; the figures go beside it as JSON.")],
    work: Annotated[Path, typer.Option(help="For the wheel, what is built, and what was measured.")] = Path(
        "work_dirs/evidence"
    ),
    length: Annotated[int, typer.Option(help="Tokens of a prompt.")] = 512,
    texts: Annotated[int, typer.Option(help="Texts whose continuation is read.", max=12)] = 12,
    needles: Annotated[int, typer.Option(help="Prompts with a number in them.")] = 30,
    rounds: Annotated[int, typer.Option(help="Rounds of timing a decoded token; 0 times nothing.")] = 15,
    layers: Annotated[int, typer.Option(help="Of the decoder that is timed; the model has 30.")] = 30,
    build: Annotated[bool, typer.Option("--build/--no-build", help="Build at 2048 places.")] = True,
) -> None:
    """Perplexity, numbers found and time of SmolLM2-135M at several budgets of its cache; goes on from what was measured."""
    torch.set_num_threads(1)
    kept = work / "language_model.json"
    found: dict[str, Any] = {"provenance": "measured", "machine": f"{platform.machine()}, one thread"}
    found["answers"] = language_model.measure_answers(
        lambda: language_model.loaded(wheel.prepared(work), length, 64),
        kept, length=length, following=64, texts=texts, needles=needles, say=_say,
    )  # fmt: skip
    found["load"] = os.getloadavg()[2] / (os.cpu_count() or 1)
    if rounds:
        found["speed"] = language_model_speed.measure_speed(work / "speed", layers, 2048, rounds, 3, _say)
    if build:
        _say("build at 2048 places")
        found["build"] = language_model_speed.measure_build(work / "smollm2")
    given = f"--length {length} --texts {texts} --needles {needles} --rounds {rounds} --layers {layers}"
    given += "" if build else " --no-build"
    command = f"python -m benchmarks language-model --out {out} {given}"
    page = language_model_page.language_model_page(found, command, out.with_suffix(".json").name)
    out.write_text(page, encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key != "answers"}, indent=1))


def show_segmenters(
    data: Annotated[Path, typer.Option(help="Folder of examples.scenes.generate.")],
    split: Annotated[str, typer.Option(help="Which scenes.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Only the first scenes.")] = None,
) -> None:
    """mIoU of the trained scenes Segmenter with CTS, ALGM and ToMe, and what each loses against the dense form."""
    try:
        document = segmenters.measure_segmenters(data, split, limit, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    rows = segmenters.segmenters_table(document)
    _show_rows(
        f"Trained scenes Segmenter on {document['data']['images']} held-out scenes (measured; MACs computed)", rows
    )
    print(json.dumps(document, indent=1))


def show_tune(
    cases: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(tuning.CASES)}.")] = None,
    target: Annotated[str, typer.Option(help="Whose latency is predicted.")] = "orin",
    precision: Annotated[list[str] | None, typer.Option(help="fp16 or fp32; repeatable. Both by default.")] = None,
    scenes: Annotated[
        Path | None, typer.Option(help="Images of examples.scenes.generate, for the case scenes.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where models are fetched and studies lie.")] = Path("work_dirs/tune"),
    limit: Annotated[int, typer.Option(help="Images at most.")] = 17,
    trials: Annotated[int, typer.Option(help="Of every study.")] = 24,
) -> None:
    """What tune finds for an Orin, beside what calibrate and shipped recipes propose."""
    rows: dict[str, Any] = {}
    try:
        for name, case in tuning.cases_in(folder, scenes, cases or ()).items():
            _say(name)
            precisions = tuple(precision or ("fp16", "fp32"))
            rows[name] = tuning.tune_row(case, target, precisions, folder / name, limit, trials, _say)
    except EdgeExportError as error:
        _err.print(f"error: {error}", highlight=False, markup=False)
        raise typer.Exit(error.exit_code) from None
    shown = [{"case": name, **{key: row[key] for key in row if key != "statement"}} for name, row in rows.items()]
    for row in shown:
        _show_rows("tune beside others (losses measured, times predicted)", [row])
    print(json.dumps({"provenance": "losses measured, times predicted", "target": target, "rows": rows}, indent=1))


def show_tune_scaling(
    workers: Annotated[list[int] | None, typer.Option(help="Processes; repeatable. 1, 2, 4 and 8 by default.")] = None,
    seconds: Annotated[float, typer.Option(help="That a task sleeps.")] = 1.0,
    tasks: Annotated[int, typer.Option(help="For every worker.")] = 16,
) -> None:
    """What coordination costs: tasks that sleep, on more and more worker processes."""
    rows = tuning.scaling_rows(workers or (1, 2, 4, 8), seconds, tasks, _say)
    _show_rows(f"{tasks} tasks of {seconds:g} s for every worker (measured)", rows)
    print(json.dumps({"provenance": "measured; the tasks' time is simulated", "rows": rows}, indent=1))


_COMMANDS: dict[str, Callable[..., None]] = {
    "accuracy": write_accuracy,
    "block-table": write_block_table,
    "build": measure_builds,
    "evidence": write_evidence,
    "half-precision": compare_half_precision,
    "kernels": show_kernels,
    "language-model": write_language_model,
    "lint": compare_lint,
    "pays": show_pays,
    "plans": show_plans,
    "predicted": predict_latencies,
    "roofline": check_roofline,
    "segmenters": show_segmenters,
    "tune": show_tune,
    "tune-scaling": show_tune_scaling,
}

if __name__ == "__main__":
    command = _COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command is None:
        typer.run(main)
    else:
        del sys.argv[1]
        typer.run(command)
