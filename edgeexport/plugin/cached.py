"""The compiled libraries that the user's cache holds."""

from __future__ import annotations

from edgeexport.errors import BundleError
from edgeexport.plugin.build_record import FILE_NAME, LibraryFacts, facts_from_library
from edgeexport.plugin.search import Search

__all__ = ["cached_libraries"]


def cached_libraries(search: Search | None = None) -> list[LibraryFacts]:
    """Every readable plugin library in the cache, by path."""
    search = search or Search()
    libraries = []
    for file in sorted((search.cache / "libraries").glob(f"*/{FILE_NAME}")):
        try:
            libraries.append(facts_from_library(file))
        except BundleError:
            continue
    return libraries
