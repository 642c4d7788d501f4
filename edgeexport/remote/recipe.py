"""`edgeexport build RECIPE --host ssh://...`: exported here, with torch; the engine is built on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeexport.commands.build_options import BuildOptions
from edgeexport.errors import DeviceError
from edgeexport.remote.commands import Device, remote_build

if TYPE_CHECKING:
    from edgeexport.commands.build import BuildResult

__all__ = ["remote_build_recipe"]


def remote_build_recipe(
    options: BuildOptions, device: Device, on_stage: Callable[[str], None] = lambda name: None
) -> BuildResult:
    """Builds a bundle here and its engine on a device, which is asked whether it can before anything is computed.

    Args:
        options: The bundle and its engine.
        device: Where the engine is built.
        on_stage: Called with each stage's name as it starts.

    Raises:
        EdgeExportError: As `edgeexport.commands.build.build` and `edgeexport.remote.commands.remote_build` do. Where the
            device fails, the bundle is complete, and the error names it.
    """
    from edgeexport.commands.build import build
    from edgeexport.commands.request import request_from_arguments

    engine = replace(options.engine, precision=options.precision)
    request_from_arguments(
        options.recipe,
        options.target,
        options.precision,
        options.cfg_options,
        options.checkpoint,
        engine.plugins,
        options.keep_fp32,
    )
    device.check(on_stage)
    result = build(**options.export, local_engine=False, on_stage=on_stage)
    try:
        built = remote_build(result.bundle.path, device, target=options.target, options=engine, on_stage=on_stage)
    except DeviceError as error:
        remedy = f"{error.remedy}; the bundle is complete: edgeexport build {result.bundle.path} --host {device.host}"
        raise DeviceError(error.where, error.problem, remedy) from error
    return replace(result, engine=built.record, no_engine="")
