"""`edgeexport build RECIPE --host ssh://...`: exported here, with torch; the engine is built on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.backends.contract import EngineOptions
from edgeexport.errors import DeviceError
from edgeexport.remote.commands import Device, remote_build

if TYPE_CHECKING:
    from edgeexport.commands.build import BuildResult

__all__ = ["remote_build_recipe"]


def remote_build_recipe(
    recipe: str | Path,
    target: str,
    device: Device,
    *,
    precision: str = "fp32",
    cfg_options: Sequence[str] = (),
    checkpoint: Path | None = None,
    work_dir: Path | None = None,
    options: EngineOptions | None = None,
    on_stage: Callable[[str], None] = lambda name: None,
) -> BuildResult:
    """Builds a bundle here and its engine on a device, which is asked whether it can before anything is computed.

    Args:
        recipe, target, precision, cfg_options, checkpoint, work_dir: As `edgeexport.commands.build.build` takes them.
        device: Where the engine is built.
        options: What is asked of the engine; whether the graph has plugins holds for the bundle as well.
        on_stage: Called with each stage's name as it starts.

    Raises:
        EdgeExportError: As `edgeexport.commands.build.build` and `edgeexport.remote.commands.remote_build` do. Where the
            device fails, the bundle is complete, and the error names it.
    """
    from edgeexport.commands.build import build
    from edgeexport.commands.request import request_from_arguments

    asked = options or EngineOptions()
    request_from_arguments(recipe, target, precision, cfg_options, checkpoint, asked.plugins)
    device.check(on_stage)
    result = build(
        recipe,
        target,
        precision=precision,
        cfg_options=cfg_options,
        checkpoint=checkpoint,
        work_dir=work_dir,
        plugins=asked.plugins,
        local_engine=False,
        on_stage=on_stage,
    )
    try:
        built = remote_build(
            result.bundle.path, device, target=target, options=replace(asked, precision=precision), on_stage=on_stage
        )
    except DeviceError as error:
        remedy = f"{error.remedy}; the bundle is complete: edgeexport build {result.bundle.path} --host {device.host}"
        raise DeviceError(error.where, error.problem, remedy) from error
    return replace(result, engine=built.record, no_engine="")
