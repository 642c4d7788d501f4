"""``edgeexport plugin``: compile the TensorRT plugin library, show what plugins take and what is built, and whether it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.command import Command, Group
from edgeexport.cli.options import JsonFlag
from edgeexport.terminal.output import emit, print_line, stages_shown

__all__ = ["plugin_app"]

plugin_app = typer.Typer(
    cls=Group, no_args_is_help=True, help="The TensorRT plugin library: compile it, see what it holds."
)


@plugin_app.command(cls=Command)
def build(
    target: Annotated[str, typer.Option(help="orin, orin-32gb, orin-nx, orin-nano, thor or gpu.")] = "orin",
    cuda_arch: Annotated[
        list[int] | None,
        typer.Option(
            "--cuda-arch", help="Compute capability without the dot, such as 87; repeatable. By default the target's."
        ),
    ] = None,
    tensorrt_include: Annotated[
        Path | None, typer.Option("--tensorrt-include", help="The folder that holds NvInfer.h.")
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            help="Sources instead of this edgeexport's, such as BUNDLE/plugins; read them first: they will run."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The library; work_dirs/plugins/sm_<arch>/libedgeexport_plugins.so by default.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compile the plugin library. Needs a CUDA toolkit, no GPU and no TensorRT but its headers."""
    from edgeexport.plugin.command import build_plugins

    with stages_shown() as on_stage:
        built = build_plugins(target, cuda_arch or [], tensorrt_include, out, sources=sources, on_stage=on_stage)

    def show() -> None:
        for name, value in built.items():
            print_line(f"{name.replace('_', ' '):<20s} {_text(value)}")

    emit(json_output, built, show)


@plugin_app.command(cls=Command)
def headers(json_output: JsonFlag = False) -> None:
    """Fetch TensorRT's headers where the system has none: out of a pinned wheel, with pip. An installation by make does it."""
    from edgeexport.plugin.headers import find_headers

    with stages_shown() as on_stage:
        found = find_headers(on_stage=on_stage)
    told = {"folder": str(found.folder), "version": found.version, "source": found.source}
    emit(json_output, told, lambda: print_line(f"TensorRT {found.version}: {found.folder} ({found.source})"))


@plugin_app.command(cls=Command, name="list")
def list_plugins(
    library: Annotated[Path | None, typer.Argument(help="A plugin library; by default those in the cache.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Show the plugins with their attributes, and what compiled libraries record."""
    from edgeexport.plugin.command import list_plugins as plugins_and_libraries

    listing = plugins_and_libraries(library)
    emit(json_output, listing, lambda: _print_listing(listing))


@plugin_app.command(cls=Command, name="test")
def check(
    library: Annotated[Path, typer.Argument(help="A plugin library.")],
    target: Annotated[str, typer.Option(help="The device that is to run it.")] = "orin",
    cuda_arch: Annotated[
        int | None, typer.Option("--cuda-arch", help="Compute capability without the dot, instead of the target's.")
    ] = None,
    tensorrt: Annotated[str | None, typer.Option(help="Version of the TensorRT that is to load it.")] = None,
    machine: Annotated[str | None, typer.Option(help="The device's processor; a Jetson's is aarch64.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Would this library fit the device? Compares what it records; nothing is loaded. Exit code 9 if not."""
    from edgeexport.plugin.command import library_that_fits

    facts = library_that_fits(library, target, cuda_arch=cuda_arch, tensorrt=tensorrt, machine=machine)
    fits = f"{_text(facts['architectures'])}, TensorRT {facts['tensorrt_headers']} headers, {facts['machine']}"
    emit(json_output, {"status": "passed", **facts}, lambda: print_line(f"fits: {fits}"))


def _print_listing(listing: dict[str, Any]) -> None:
    for plugin in listing["plugins"]:
        attributes = ", ".join(f"{name} ({kind})" for name, kind in plugin["attributes"].items()) or "no attributes"
        print_line(f"{plugin['namespace']}::{plugin['name']} {plugin['version']}: {attributes}")
    for entry in listing["libraries"]:
        state = "these sources" if entry["current"] else "other sources"
        print_line(f"{entry['library']}")
        print_line(
            f"  {_text(entry['architectures'])} | TensorRT {entry['tensorrt_headers']} headers | CUDA {entry['cuda']} | "
            f"{entry['machine']} | {state}"
        )
    if not listing["libraries"]:
        print_line("no library is built yet: edgeexport plugin build")


def _text(value: object) -> str:
    return ", ".join(f"sm_{item}" for item in value) if isinstance(value, list) else str(value)
