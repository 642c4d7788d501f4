"""What `edgeexport build RECIPE` was asked for, as it stands on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeexport.backends.contract import EngineOptions

__all__ = ["BuildOptions"]


@dataclass(frozen=True)
class BuildOptions:
    """A bundle to build.

    Attributes:
        recipe, target, precision, keep_fp32, cfg_options, checkpoint, work_dir: As `edgeexport.commands.build.build` takes
            them.
        engine: What is asked of the engine; whether the graph has plugins holds for the bundle as well.
    """

    recipe: str
    target: str
    precision: str = "fp32"
    keep_fp32: tuple[str, ...] = ()
    cfg_options: tuple[str, ...] = ()
    checkpoint: Path | None = None
    work_dir: Path | None = None
    plans: bool = True
    engine: EngineOptions = field(default_factory=EngineOptions)

    @property
    def export(self) -> dict[str, Any]:
        """The arguments of `edgeexport.commands.build.build` that are about the export, here, and not the engine."""
        names = ("recipe", "target", "precision", "keep_fp32", "cfg_options", "checkpoint", "work_dir", "plans")
        return {name: getattr(self, name) for name in names} | {"plugins": self.engine.plugins}
