"""report.html: a bundle on one page, for people. Self-contained: no script, no network, images and drawings inside."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined

from edgeexport.bundle import Bundle, open_bundle
from edgeexport.bundle.files import disk_errors, write_file
from edgeexport.errors import BundleError
from edgeexport.report.bundle_files import read_bundle_files
from edgeexport.report.graph_list_page import graph_list_page
from edgeexport.report.pictures import pictures_from_files, pictures_from_report
from edgeexport.report.report_view import report_view

__all__ = ["OVERLAY_FILE", "REPORT_FILE", "html_from_bundle", "write_report"]

REPORT_FILE = "report.html"
OVERLAY_FILE = "overlay.png"

_TEMPLATE = "report.html.j2"
_PARTS = (_TEMPLATE, "macros.html.j2", "latency.html.j2", "provenance.html.j2", "report.css")


def write_report(bundle_dir: Path, *, overlays: Mapping[str, bytes] | None = None) -> Path:
    """Writes report.html into a bundle folder, whole or not at all, and returns its path.

    Args:
        bundle_dir: Holds manifest.json; its other files are shown where they are.
        overlays: Photograph's name -> an image file's bytes. Without any, overlay.png of the bundle is taken, or what
            stood in the report before.

    Raises:
        BundleError: No bundle, or a JSON file or overlay of it is damaged.
        BuildError: The report cannot be written.
    """
    content = html_from_bundle(open_bundle(bundle_dir, check_hashes=False), overlays)
    path = bundle_dir / REPORT_FILE
    with disk_errors(path, "free some space"):
        write_file(path, content)
    return path


def html_from_bundle(bundle: Bundle, overlays: Mapping[str, bytes] | None = None) -> str:
    """The page as text. Raises `BundleError` as `write_report` does."""
    if bundle.listed:
        return graph_list_page(bundle)
    file = bundle.path / OVERLAY_FILE
    if not overlays and file.is_file() and not file.is_symlink():  # a link would show a picture of this machine
        overlays = {"": file.read_bytes()}
    pictures = pictures_from_files(overlays, file) if overlays else pictures_from_report(bundle.path / REPORT_FILE)
    try:
        view = report_view(read_bundle_files(bundle))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            str(bundle.path),
            f"manifest.json, tokens.json or another file lacks what a report shows ({error!r})",
            "build the bundle again; profile and verify it again where it was",
        ) from None
    folder = resources.files("edgeexport.report")
    templates = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _PARTS}
    environment = Environment(
        loader=DictLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(view=view, pictures=pictures)
