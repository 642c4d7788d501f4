"""``edgeexport verify``: does a bundle still compute what its original does? No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import (
    BundleArgument,
    EngineOption,
    HostOption,
    JsonFlag,
    RemoteCommandOption,
    TrustFileOption,
    TrustOption,
    device_from_options,
    refuse_with_host,
)
from edgeexport.terminal.output import emit, stages_shown

__all__ = ["verify"]


def verify(
    bundle: BundleArgument,
    data: Annotated[Path | None, typer.Option(help="Folder of images to compare on.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The weights that the bundle was built from.")] = None,
    policy_checkpoint: Annotated[
        Path | None, typer.Option(help="The policy network's own file, if it had one.")
    ] = None,
    engine: EngineOption = "auto",
    trust: TrustOption = None,
    trust_file: TrustFileOption = None,
    host: HostOption = None,
    remote_command: RemoteCommandOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle's outputs and token decisions with the original. Exit code 4 if they differ."""
    from edgeexport.commands.verify import verify_bundle
    from edgeexport.plugin.trust import trusting
    from edgeexport.terminal.results import print_verify

    device = device_from_options(host, remote_command)
    original = {"data": data, "checkpoint": checkpoint, "policy_checkpoint": policy_checkpoint}
    if device is not None:
        refuse_with_host("the original model is run here alone", **original)
    with trusting(trust or (), trust_file or ()), stages_shown() as on_stage:
        if device is None:
            result = verify_bundle(bundle, engine=engine, on_stage=on_stage, **original)
        else:
            from edgeexport.remote.commands import remote_verify

            result = remote_verify(bundle, device, engine=engine, on_stage=on_stage)
    emit(json_output, result.as_dict(), lambda: print_verify(result))
