"""The command line: arguments in, results out. No logic; errors become one line on standard error and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgeexport.cli.build import build
from edgeexport.cli.evaluate import calibrate, evaluate
from edgeexport.cli.options import HostOption, RemoteCommandOption, device_from_options, refuse_with_host
from edgeexport.cli.plugin import plugin_app
from edgeexport.cli.profile import compare, profile
from edgeexport.device.packages import error_of_package
from edgeexport.errors import EdgeExportError
from edgeexport.terminal.output import JsonFlag, emit, errors_console, stages_shown
from edgeexport.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Static-shape deployment bundles for token-reduced Vision Transformers.",
)
app.add_typer(plugin_app, name="plugin")

EngineChoice = Annotated[
    str, typer.Option(help="auto: the bundle's engine if one was built here, else model.onnx; none: model.onnx.")
]


@app.callback()
def _root() -> None:
    """Static-shape deployment bundles for token-reduced Vision Transformers."""


@app.command()
def version(json_output: JsonFlag = False) -> None:
    """Print the version; with --json also the schemas, which `--host` compares."""
    from edgeexport.remote.edgeexport import version_facts

    emit(json_output, version_facts(), lambda: typer.echo(__version__))


@app.command()
def doctor(
    target: Annotated[str | None, typer.Option(help="Only this target.")] = None, json_output: JsonFlag = False
) -> None:
    """Tell what this machine can do, and what is missing for each target."""
    from edgeexport.commands.doctor import examine
    from edgeexport.terminal.results import print_doctor

    found = examine(target)
    emit(json_output, found.as_dict(), lambda: print_doctor(found))


@app.command()
def recipes(json_output: JsonFlag = False) -> None:
    """List the shipped recipes."""
    from edgeexport.recipe import shipped_recipes, shipped_recipes_folder
    from edgeexport.terminal.results import print_recipes

    found = shipped_recipes()
    folder = shipped_recipes_folder()
    document = {"folder": str(folder), "recipes": [{"name": name, "description": line} for name, line in found]}
    emit(json_output, document, lambda: print_recipes(found, folder))


app.command()(build)


@app.command()
def inspect(
    subject: Annotated[Path, typer.Argument(help="A bundle folder, or an ONNX file.")], json_output: JsonFlag = False
) -> None:
    """Show a bundle's token schedule, multiply-accumulates, operators and provenance."""
    from edgeexport.commands.inspect import inspect_bundle, inspect_model
    from edgeexport.terminal.results import print_inspection

    found = inspect_model(subject) if subject.is_file() else inspect_bundle(subject)
    emit(json_output, found, lambda: print_inspection(found))


@app.command()
def lint(
    subject: Annotated[str, typer.Argument(help="A recipe, or an ONNX file.")],
    target: Annotated[str, typer.Option(help="The target whose TensorRT has to parse it.")] = "orin",
    cfg_options: Annotated[list[str] | None, typer.Option("--cfg-options", help="key=value; repeatable.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Would it stay static and parse on the target's TensorRT? Exit code 3 if not."""
    from edgeexport.commands.inspect import lint_subject
    from edgeexport.terminal.results import print_lint

    with stages_shown() as on_stage:
        report = lint_subject(subject, target, cfg_options or [], on_stage)
    emit(json_output, report.as_dict(), lambda: print_lint(report))
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
    engine: EngineChoice = "auto",
    host: HostOption = None,
    remote_command: RemoteCommandOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle's outputs and token decisions with the original. Exit code 4 if they differ."""
    from edgeexport.commands.verify import verify_bundle
    from edgeexport.terminal.results import print_verify

    device = device_from_options(host, remote_command)
    given = {"data": data, "checkpoint": checkpoint, "policy_checkpoint": policy_checkpoint}
    if device is not None:
        refuse_with_host("the original model is run here alone", **given)
    with stages_shown() as on_stage:
        if device is None:
            result = verify_bundle(bundle, engine=engine, on_stage=on_stage, **given)
        else:
            from edgeexport.remote.commands import remote_verify

            result = remote_verify(bundle, device, engine=engine, on_stage=on_stage)
    emit(json_output, result.as_dict(), lambda: print_verify(result))


@app.command()
def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder.")],
    images: Annotated[list[Path], typer.Argument(help="Photographs of any size.")],
    out_dir: Annotated[Path | None, typer.Option(help="Where pictures go; predictions/<bundle> by default.")] = None,
    engine: EngineChoice = "auto",
    json_output: JsonFlag = False,
) -> None:
    """Predict photographs; writes label maps and overlays, or merged regions and the likeliest classes."""
    from edgeexport.commands.run import predict_images
    from edgeexport.terminal.results import print_predictions

    with stages_shown("pictures already written stay") as on_stage:
        found = predict_images(
            bundle,
            images,
            out_dir,
            engine=engine,
            progress=lambda done, count, path: on_stage(f"{done} of {count}: {path}"),
        )
    emit(json_output, found.as_dict(), lambda: print_predictions(found))
    if found.error is not None:
        raise found.error


app.command()(evaluate)
app.command()(calibrate)
app.command()(compare)
app.command()(profile)


def main() -> NoReturn:
    """Entry point: runs the command line and exits with the codes of the design (0, 2, 3, 4, 5, 6, 7, 8, 9)."""
    try:
        app(standalone_mode=True)
    except Exception as raised:
        error = raised if isinstance(raised, EdgeExportError) else error_of_package(raised)
        if error is None:
            raise
        errors_console.print(f"error: {error}", style="bold red", highlight=False, soft_wrap=True, markup=False)
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main()
