"""report.html: a bundle on one page, for people. Self-contained: no script, no network, images inside."""

from __future__ import annotations

import base64
import io
import os
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image, UnidentifiedImageError

from edgeexport.bundle import Bundle, open_bundle
from edgeexport.engine import engine_record
from edgeexport.errors import BuildError, BundleError
from edgeexport.report.report_view import report_view

__all__ = ["OVERLAY_FILE", "REPORT_FILE", "html_from_bundle", "write_report"]

REPORT_FILE = "report.html"
OVERLAY_FILE = "overlay.png"

_TEMPLATE = "report.html.j2"
_JPEG_QUALITY = 88


def write_report(bundle_dir: Path, *, overlay: bytes | None = None) -> Path:
    """Writes report.html into a bundle folder, whole or not at all, and returns its path.

    Args:
        bundle_dir: Holds manifest.json; tokens.json, parity.json and engine.json are shown where they are.
        overlay: An image file's bytes; None takes overlay.png of the bundle, if there is one.

    Raises:
        BundleError: No bundle, or a JSON file or overlay of it is damaged.
        BuildError: The report cannot be written.
    """
    content = html_from_bundle(open_bundle(bundle_dir, check_hashes=False), overlay)
    path = bundle_dir / REPORT_FILE
    partial = bundle_dir / f".{REPORT_FILE}.partial-{os.getpid()}"
    try:
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BuildError(str(path), f"cannot be written: {error.strerror or error}", "free some space") from error
    return path


def html_from_bundle(bundle: Bundle, overlay: bytes | None = None) -> str:
    """The page as text. Raises `BundleError` as `write_report` does."""
    if overlay is None and (bundle.path / OVERLAY_FILE).is_file():
        overlay = (bundle.path / OVERLAY_FILE).read_bytes()
    try:
        view = report_view(
            bundle.manifest,
            _json_if_there(bundle, "tokens.json"),
            _json_if_there(bundle, "parity.json"),
            engine_record(bundle),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(
            str(bundle.path),
            f"manifest.json, tokens.json or parity.json lacks what a report shows ({error!r})",
            "build the bundle again",
        ) from None
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("edgeexport.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    image = None if overlay is None else _data_uri(overlay, bundle.path / OVERLAY_FILE)
    return environment.from_string(source).render(view=view, overlay=image)


def _json_if_there(bundle: Bundle, name: str) -> Any:
    return bundle.json(name) if (bundle.path / name).is_file() else None


def _data_uri(image_file: bytes, where: Path) -> str:
    """As JPEG: a photograph's overlay takes a tenth of the PNG's size. Full chroma, or thin red lines would blur."""
    content = io.BytesIO()
    try:
        with Image.open(io.BytesIO(image_file)) as image:
            image.convert("RGB").save(content, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise BundleError(str(where), f"is no image ({error})", "write the overlay again") from None
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
