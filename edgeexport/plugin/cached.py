"""The compiled libraries that the user's cache holds, and that were compiled here or named by the user."""

from __future__ import annotations

import contextlib

from edgeexport.bundle import sha256_of
from edgeexport.errors import BundleError
from edgeexport.plugin.build_record import FILE_NAME, LibraryFacts, facts_from_library
from edgeexport.plugin.search import Search
from edgeexport.plugin.trust import is_trusted

__all__ = ["cached_libraries"]


def cached_libraries(search: Search | None = None) -> list[LibraryFacts]:
    """Every readable and trusted plugin library in the cache, by path.

    Raises:
        UsageError: A file that names what is trusted is missing or damaged.
    """
    search = search or Search()
    libraries = []
    for file in sorted((search.cache / "libraries").glob(f"*/{FILE_NAME}")):
        with contextlib.suppress(BundleError):
            facts = facts_from_library(file)
            if is_trusted(sha256_of(file), search.cache):
                libraries.append(facts)
    return libraries
