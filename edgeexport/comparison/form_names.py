"""What two bundles are called side by side: forms of one recipe are told apart by what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["form_names"]

_MOST = 3
_BESIDE = ("target", "precision", "plugins")
_REDUCTION = "reduction"


def form_names(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    """Names of two bundles for a table, from their manifests.

    Returns:
        The recipes' names where they differ. Else name and difference: 'deit (dense)' and 'deit (tome.r = 8)', or
        'deit (fp16)' and 'deit (fp32)'; at most three differences are listed. Equal where nothing differs but the weights.
    """
    names = str(a.get("name")), str(b.get("name"))
    if names[0] != names[1]:
        return names
    one, other = _facts(a), _facts(b)
    different = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return _named(names[0], one, different), _named(names[1], other, different)


def _named(name: str, facts: Mapping[str, str], different: list[str]) -> str:
    told = [facts[key] for key in different if key in facts]
    reduces = any(key.startswith(f"{_REDUCTION}.") for key in facts)
    if not reduces and any(key.startswith(f"{_REDUCTION}.") for key in different):
        told.insert(0, "dense")
    if not told:
        return name
    more = f" and {len(told) - _MOST} more" if len(told) > _MOST else ""
    return f"{name} ({', '.join(told[:_MOST])}{more})"


def _facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Key -> for people, of everything that makes a form."""
    facts = {}
    for key in _BESIDE:
        value = manifest.get(key)
        if value is not None:
            facts[key] = str(value) if not isinstance(value, bool) else f"{'with' if value else 'without'} {key}"
    for key, value in _entries(manifest.get("recipe") or {}, ""):
        facts[key] = f"{key.removeprefix(f'{_REDUCTION}.')} = {value}"
    return facts


def _entries(config: Mapping[str, Any], path: str) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from _entries(value, name)
        elif value not in (None, {}):
            yield name, value
