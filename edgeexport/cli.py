"""The command line: arguments in, results out. No logic; errors become one line on standard error and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edgeexport import __version__
from edgeexport.errors import EdgeExportError, UsageError
from edgeexport.plugin_cli import plugin_app

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Static-shape deployment bundles for token-reduced Vision Transformers.",
)
app.add_typer(plugin_app, name="plugin")
_err = Console(stderr=True)

_EXPORT_PACKAGES = {"mmengine", "mmseg", "onnx", "onnx_ir", "onnxscript", "safetensors", "timm", "torch"}

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else.")]


@app.callback()
def _root() -> None:
    """Static-shape deployment bundles for token-reduced Vision Transformers."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def doctor(
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None, json_output: JsonFlag = False
) -> None:
    """Tell what this machine can do, and what is missing for each target."""
    from edgeexport.device.doctor import examine
    from edgeexport.terminal import print_doctor

    found = examine(target)
    _emit(json_output, found.as_dict(), lambda: print_doctor(found))


@app.command()
def recipes(json_output: JsonFlag = False) -> None:
    """List the shipped recipes."""
    from edgeexport.recipe import shipped_recipes, shipped_recipes_folder
    from edgeexport.terminal import print_recipes

    found = shipped_recipes()
    folder = shipped_recipes_folder()
    document = {"folder": str(folder), "recipes": [{"name": name, "description": line} for name, line in found]}
    _emit(json_output, document, lambda: print_recipes(found, folder))


@app.command()
def build(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    target: Annotated[str, typer.Option(help="orin, orin-nx, orin-nano, thor, gpu or cpu.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights, instead of the recipe's.")] = None,
    precision: Annotated[str, typer.Option(help="fp32 (fp16 is not in this version).")] = "fp32",
    cfg_options: Annotated[
        list[str] | None,
        typer.Option("--cfg-options", help="key=value, replaces what stands in the recipe; repeatable."),
    ] = None,
    work_dir: Annotated[Path | None, typer.Option(help="The bundle folder itself.")] = None,
    host: Annotated[str | None, typer.Option(help="ssh://user@device (not in this version).")] = None,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Only standard operators in model.trt.onnx.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe and show its tokens; build nothing.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Build a verified static-shape bundle from a recipe."""
    if host is not None:
        raise UsageError("--host", "building on a device is not in this version", "build here and copy the bundle")
    options = cfg_options or []
    if dry_run:
        _dry_run(recipe, target, precision, options, checkpoint, work_dir, json_output)
        return
    from edgeexport.pipeline import build as build_bundle
    from edgeexport.terminal import print_build

    with _progress("an existing bundle stays as it was") as on_stage:
        result = build_bundle(
            recipe,
            target,
            precision=precision,
            cfg_options=options,
            checkpoint=checkpoint,
            work_dir=work_dir,
            plugins=not no_plugins,
            on_stage=on_stage,
        )
    for warning in result.warnings:
        _err.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True, markup=False)
    document = {
        "bundle": str(result.bundle.path),
        "weights": result.bundle.manifest["weights"]["statement"],
        "checks": result.bundle.manifest["checks"],
        "warnings": list(result.warnings),
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
    }
    _emit(json_output, document, lambda: print_build(result))


@app.command()
def inspect(
    subject: Annotated[Path, typer.Argument(help="A bundle folder, or an ONNX file.")], json_output: JsonFlag = False
) -> None:
    """Show a bundle's token schedule, multiply-accumulates, operators and provenance."""
    from edgeexport.inspection import inspect_bundle, inspect_model
    from edgeexport.terminal import print_inspection

    found = inspect_model(subject) if subject.is_file() else inspect_bundle(subject)
    _emit(json_output, found, lambda: print_inspection(found))


@app.command()
def lint(
    subject: Annotated[str, typer.Argument(help="A recipe, or an ONNX file.")],
    target: Annotated[str, typer.Option(help="The target whose TensorRT has to parse it.")] = "orin",
    cfg_options: Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value; repeatable.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Would it stay static and parse on the target's TensorRT? Exit code 3 if not."""
    from edgeexport.inspection import lint_subject
    from edgeexport.terminal import print_lint

    with _progress() as on_stage:
        report = lint_subject(subject, target, cfg_options or [], on_stage)
    _emit(json_output, report.as_dict(), lambda: print_lint(report))
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    data: Annotated[Path | None, typer.Option(help="Folder of images to compare on.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The weights that the bundle was built from.")] = None,
    policy_checkpoint: Annotated[
        Path | None, typer.Option(help="The policy network's own file, if it had one.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle's outputs and token decisions with the original. Exit code 4 if they differ."""
    from edgeexport.terminal import print_verify
    from edgeexport.verification import verify_bundle

    with _progress() as on_stage:
        result = verify_bundle(
            bundle, data=data, checkpoint=checkpoint, policy_checkpoint=policy_checkpoint, on_stage=on_stage
        )
    _emit(json_output, result.as_dict(), lambda: print_verify(result))


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    images: Annotated[list[Path], typer.Argument(help="Photographs of any size.")],
    out_dir: Annotated[Path | None, typer.Option(help="Where pictures go; predictions/<bundle> by default.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Predict photographs with ONNX Runtime; writes label maps and overlays, or merged regions and the likeliest classes."""
    from edgeexport.predict import predict_images
    from edgeexport.terminal import print_predictions

    with _progress("pictures already written stay") as on_stage:
        found = predict_images(
            bundle, images, out_dir, progress=lambda done, count, path: on_stage(f"{done} of {count}: {path}")
        )
    _emit(json_output, found.as_dict(), lambda: print_predictions(found))
    if found.error is not None:
        raise found.error


@app.command()
def calibrate(
    recipe: Annotated[str, typer.Argument(help="A recipe of a timm host, such as dsm_deit_s.py.")],
    delay: Annotated[bool, typer.Option("--delay", help="Propose DSM's delay from token similarity.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of images; by default the shipped photographs.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights, instead of the recipe's.")] = None,
    cfg_options: Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value; repeatable.")] = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where files go; calibration/<recipe> by default.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Propose a recipe's constants from images: DSM's delay."""
    if not delay:
        raise UsageError("calibrate", "found no constant to propose", "give --delay, the only one in this version")
    from edgeexport.calibration.command import calibrate_delay
    from edgeexport.terminal import print_delay

    with _progress() as on_stage:
        found = calibrate_delay(
            recipe,
            data=data,
            checkpoint=checkpoint,
            cfg_options=cfg_options or [],
            out_dir=out_dir,
            on_stage=on_stage,
        )
    _emit(json_output, found.as_dict(), lambda: print_delay(found))


def main() -> NoReturn:
    """Entry point: runs the command line and exits with the codes of the design (0, 2, 3, 4, 5, 6, 7, 8, 9)."""
    try:
        app(standalone_mode=True)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] not in _EXPORT_PACKAGES:
            raise
        text = f"error: this needs {error.name}, which is not installed | pip install 'edgeexport[export]'"
        _err.print(text, style="bold red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(UsageError.exit_code)
    except EdgeExportError as error:
        _err.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(error.exit_code)
    sys.exit(0)


def _dry_run(
    recipe: str,
    target: str,
    precision: str,
    options: list[str],
    checkpoint: Path | None,
    work_dir: Path | None,
    json_output: bool,
) -> None:
    from edgeexport.bundle import check_replaceable
    from edgeexport.freeze.tokens import tokens_json
    from edgeexport.pipeline import default_work_dir, request_from_arguments
    from edgeexport.terminal import print_tokens

    request = request_from_arguments(recipe, target, precision, options, checkpoint)
    tokens = tokens_json(request.recipe)
    folder = work_dir if work_dir is not None else default_work_dir(request.recipe, target, precision)
    check_replaceable(folder)
    document = {"would_write": str(folder), "weights": "not read", "tokens": tokens}
    _emit(json_output, document, lambda: print_tokens(request.recipe.name, tokens))


def _emit(json_output: bool, document: Any, show: Callable[[], None]) -> None:
    if json_output:
        sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
    else:
        show()


@contextmanager
def _progress(on_interrupt: str = "nothing was written") -> Iterator[Callable[[str], None]]:
    """Stages as they start, on standard error: a spinner on a terminal, plain lines elsewhere."""
    try:
        with _stages() as on_stage:
            yield on_stage
    except KeyboardInterrupt:  # typer turns it into exit code 130, without a word
        _err.print(f"interrupted; {on_interrupt}", style="bold red", markup=False)
        raise


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    if not _err.is_terminal:
        yield lambda name: print(f"... {name}", file=sys.stderr, flush=True)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_err, transient=True) as bar:
        task: list[Any] = []

        def on_stage(name: str) -> None:
            if task:
                bar.remove_task(task.pop())
            task.append(bar.add_task(name, total=None))

        yield on_stage


if __name__ == "__main__":
    main()
