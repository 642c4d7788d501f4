"""``edgeexport build``: a bundle from a recipe, or the engine of a bundle on the machine at hand. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.options import (
    CheckpointOption,
    DsmOption,
    HostOption,
    JsonFlag,
    NoCacheFlag,
    PrefixOption,
    RandomOption,
    RemoteCommandOption,
    TomeOption,
    TrustFileOption,
    TrustOption,
    UnmergeBeforeOption,
    device_from_options,
    file_options,
    recipe_options,
    refuse_with_host,
)
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, print_note, stages_shown

if TYPE_CHECKING:
    from edgeexport.backends.contract import EngineOptions
    from edgeexport.commands.build_options import BuildOptions
    from edgeexport.remote.commands import Device

__all__ = ["build"]


def build(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|timm:NAME|MODEL.onnx|BUNDLE",
            help="A recipe file, or the name of a shipped recipe; a model of timm, such as timm:deit_small_patch16_224; an "
            "ONNX file of a Vision Transformer; or a bundle folder, to build its engine here.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="orin, orin-32gb, orin-nx, orin-nano, thor, gpu or cpu; for a bundle, its own where left out."
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    precision: Annotated[
        str | None, typer.Option(parser=str.lower, help="fp32 or fp16; for a bundle, its own where left out.")
    ] = None,
    tome: TomeOption = None,
    dsm: DsmOption = None,
    random: RandomOption = None,
    prefix: PrefixOption = None,
    unmerge_before: UnmergeBeforeOption = None,
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option("--keep-fp32", metavar="PATTERN", help="fp16: nodes whose results stay in float32; repeatable."),
    ] = None,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option(
            "--cfg-options", help="key=value, one or several; replaces what stands in the recipe; repeatable."
        ),
    ] = None,
    work_dir: Annotated[Path | None, typer.Option(help="The bundle folder itself.")] = None,
    host: HostOption = None,
    remote_command: RemoteCommandOption = None,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Only standard operators in model.trt.onnx.")
    ] = False,
    no_plans: Annotated[
        bool, typer.Option("--no-plans", help="Skip the kernel plans, which lengthen a first build much.")
    ] = False,
    no_cache: NoCacheFlag = False,
    workspace: Annotated[
        int | None, typer.Option(help="TensorRT: limit of scratch memory in MiB.", min=1, max=1 << 24)
    ] = None,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", "--useCudaGraph", help="TensorRT: run the engine as a CUDA graph.")
    ] = False,
    dla_core: Annotated[
        int | None,
        typer.Option(
            "--dla-core",
            "--useDLACore",
            help="TensorRT: a deep-learning accelerator, the GPU where it cannot.",
            min=0,
            max=15,
        ),
    ] = None,
    policy_dla_core: Annotated[
        int | None,
        typer.Option(
            "--policy-dla-core",
            "--policyDLACore",
            help="The same for a policy network with an engine of its own.",
            min=0,
            max=15,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="ONNX Runtime: threads of the engine; 0 lets it choose.", min=0, max=1024)
    ] = 0,
    trust: TrustOption = None,
    trust_file: TrustFileOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check recipe and checkpoint, and show the tokens; build nothing. The recipe is Python, and its code runs.",
        ),
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Build a verified static-shape bundle from a recipe, with its engine where this machine is the target or --host
    names one; or the engine of a bundle, which needs no torch.
    """
    from edgeexport.backends.contract import EngineOptions
    from edgeexport.commands.build_options import BuildOptions
    from edgeexport.plugin.trust import trusting

    device = device_from_options(host, remote_command)
    if device is not None:
        refuse_with_host("it builds nothing", dry_run=dry_run)
    engine = EngineOptions(
        precision=precision or "",
        workspace_mib=workspace,
        plugins=not no_plugins,
        cuda_graph=cuda_graph,
        dla_core=dla_core,
        policy_dla_core=policy_dla_core,
        threads=threads,
    )
    if Path(subject).is_dir():
        of_a_recipe = {
            "--checkpoint": checkpoint,
            "--keep-fp32": keep_fp32,
            "--tome": tome,
            "--dsm": dsm,
            "--random": random,
            "--prefix": prefix,
            "--unmerge-before": unmerge_before,
            "--cfg-options": cfg_options,
            "--work-dir": work_dir,
            "--no-plans": no_plans,
            "--no-cache": no_cache,
            "--dry-run": dry_run,
        }
        misplaced = [name for name, value in of_a_recipe.items() if value]
        if misplaced:
            problem = f"{subject} is a bundle, and these belong to a recipe"
            raise UsageError(", ".join(misplaced), problem, "leave them out, or name a recipe")
        with trusting(trust or (), trust_file or ()):
            _build_engine(Path(subject), target, engine, device, json_output)
        return
    if target is None and Path(subject).suffix not in (".py", ".onnx"):
        remedy = "check the path of the bundle; or give --target orin with a recipe"
        raise UsageError(subject, "is no folder here, and a recipe needs --target", remedy)
    if target is None:
        raise UsageError("--target", "is missing", "a build from a recipe needs one, such as --target orin")
    options = BuildOptions(
        recipe=subject,
        target=target,
        precision=precision or "fp32",
        keep_fp32=tuple(keep_fp32 or ()),
        cfg_options=(
            *file_options(prefix, unmerge_before),
            *recipe_options(cfg_options, tome=tome, dsm=dsm, random=random),
        ),
        checkpoint=checkpoint,
        work_dir=work_dir,
        plans=not no_plans,
        engine=engine,
    )
    if dry_run:
        _dry_run(options, json_output)
        return
    with trusting(trust or (), trust_file or ()):
        _build_bundle(options, device, no_cache, json_output)


def _build_engine(
    bundle: Path,
    target: str | None,
    options: EngineOptions,
    device: Device | None,
    json_output: bool,
) -> None:
    from edgeexport.backends.engine import build_engine
    from edgeexport.report.refresh import refresh_report
    from edgeexport.terminal.results import print_engine

    with stages_shown("an existing engine stays as it was") as on_stage:
        if device is None:
            result = build_engine(bundle, target=target, options=options, on_stage=on_stage)
            refresh_report(bundle, on_stage)
        else:
            from edgeexport.remote.commands import remote_build

            result = remote_build(bundle, device, target=target, options=options, on_stage=on_stage)
    emit(json_output, result.as_dict(), lambda: print_engine(result))


def _build_bundle(options: BuildOptions, device: Device | None, no_cache: bool, json_output: bool) -> None:
    with stages_shown("an existing bundle stays as it was", "load torch and its exporter") as on_stage:
        from edgeexport.commands.build import build as build_bundle
        from edgeexport.graph.export_cache import without_kept_exports
        from edgeexport.remote.recipe import remote_build_recipe
        from edgeexport.terminal.results import print_build

        with without_kept_exports(no_cache):
            if device is None:
                result = build_bundle(**options.export, engine_options=options.engine, on_stage=on_stage)
            else:
                result = remote_build_recipe(options, device, on_stage)
    for warning in result.warnings:
        print_note(warning, "warning")
    document = {
        "bundle": str(result.bundle.path),
        "weights": result.bundle.manifest["weights"]["statement"],
        "checks": result.bundle.manifest["checks"],
        "engine": None if result.engine is None else result.engine.as_dict(),
        "no_engine": result.no_engine,
        "warnings": list(result.warnings),
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
    }
    emit(json_output, document, lambda: print_build(result))


def _dry_run(options: BuildOptions, json_output: bool) -> None:
    from edgeexport.bundle import check_replaceable
    from edgeexport.bundle.places import check_bundle_path
    from edgeexport.commands.request import default_work_dir, request_from_arguments
    from edgeexport.config.lookup import recipe_path, shipped_recipes_folder
    from edgeexport.fixed.tokens import tokens_json
    from edgeexport.fixed.weights import model_from_recipe
    from edgeexport.recipe.named import family_of_name
    from edgeexport.recipe.prompt import prompt_recipe
    from edgeexport.terminal.results import print_tokens

    if prompt_recipe(options.recipe, options.cfg_options) is not None:
        problem = "has no token schedule to show of a language model, whose graphs are counted once they are exported"
        raise UsageError("--dry-run", problem, "leave it out; edgeexport lint exports and checks the graphs alone")
    if family_of_name(options.recipe) is None:
        path = recipe_path(options.recipe)
        if path.parent != shipped_recipes_folder():
            print_note(f"{path} is Python: reading it runs its code, and that of the files which it names as _base_")
    recipe = request_from_arguments(
        options.recipe,
        options.target,
        options.precision,
        options.cfg_options,
        options.checkpoint,
        keep_fp32=options.keep_fp32,
    ).recipe
    for warning in recipe.warnings:
        print_note(warning, "warning")
    tokens = tokens_json(recipe)
    folder = options.work_dir
    if folder is None:
        folder = default_work_dir(recipe, options.target, options.precision)
    check_bundle_path(folder)
    check_replaceable(folder)
    weights = "not read"
    if recipe.checkpoint is not None:
        weights = model_from_recipe(recipe)[1].statement
        print_note(weights)
    warnings = list(recipe.warnings)
    document = {"would_write": str(folder), "weights": weights, "warnings": warnings, "tokens": tokens}
    emit(json_output, document, lambda: print_tokens(recipe.name, tokens))
