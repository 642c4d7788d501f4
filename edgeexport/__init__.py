"""edgeexport: static-shape deployment bundles for token-reduced Vision Transformers.

Public names are resolved on first use, so that importing the package loads neither torch nor ONNX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgeexport.version import __version__

if TYPE_CHECKING:
    from edgeexport.bundle import Bundle, open_bundle
    from edgeexport.commands.build import BuildResult, build
    from edgeexport.recipe import load_recipe
    from edgeexport.recipe.schema import Recipe

__all__ = ["BuildResult", "Bundle", "Recipe", "__version__", "build", "load_recipe", "open_bundle"]

_HOME = {
    "BuildResult": "edgeexport.commands.build",
    "Bundle": "edgeexport.bundle",
    "Recipe": "edgeexport.recipe.schema",
    "build": "edgeexport.commands.build",
    "load_recipe": "edgeexport.recipe",
    "open_bundle": "edgeexport.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgeexport' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
