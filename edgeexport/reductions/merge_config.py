"""A recipe's merging methods: how many tokens merge in which block, and by which rules.

Counts are what the recipe asks for; the limits of each block are applied where changes are computed, which tells both.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, reject_unless
from edgeexport.reductions.merge_amount import parsed_r, resolved_r
from edgeexport.reductions.merge_spec import MergeSpec
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["delay_and_windows", "merge_spec_from_config", "resolved_merge", "variant_from_config"]

_SHARED_KEYS = ("metric", "pool", "proportional_attention", "r", "rope")
_DEFAULT_WINDOW = 7  # tokens, the paper's
_METRICS = ("k", "x", "q", "v")
_VARIANTS = ("tome", "sd")


def merge_spec_from_config(
    method: str, value: object, place: Place, facts: HostFacts, own: tuple[str, ...]
) -> tuple[MergeSpec, dict[str, object]]:
    """Validates what all merging methods share.

    Args:
        method: The recipe's key.
        value: Its entry.
        place: Where it stands.
        facts: The host's.
        own: Further keys that the method takes; with 'dense' among them it can hand tokens back.

    Returns:
        The spec, and the entry, for the method's own keys.

    Raises:
        RecipeError: A key is unknown, a value has the wrong type or range, or the host cannot do what it asks for.
    """
    given = mapping(value, place, (*_SHARED_KEYS, *own))
    if "r" not in given:
        raise place.missing("r", "r=8 (tokens to merge in each block)")
    r = parsed_r(given["r"], facts.depth, place.at("r"))
    dense = variant_from_config(given, place, facts) if "dense" in own else None
    metric = choice(given.get("metric", "k" if dense is None else "x"), place.at("metric"), _METRICS)
    if dense is not None:
        reason = f"tokens are matched before the block, where its {metric} is not known yet"
        reject_unless(metric, place.at("metric"), ("x",), reason)
    proportional = _proportional_attention(given, place, dense)
    pool = _pool(given, place, facts)
    return MergeSpec(method, r, proportional, pool, metric, dense, _rope(given, place, facts)), given


def resolved_merge(given: Mapping[str, object], spec: MergeSpec) -> dict[str, object]:
    """What all merging methods share, with defaults filled in."""
    return {
        "r": resolved_r(given["r"]),
        "proportional_attention": spec.proportional_attention,
        "pool": spec.pool,
        "metric": spec.metric,
        **({} if spec.rope is None else {"rope": spec.rope}),
    }


def variant_from_config(given: Mapping[str, object], place: Place, facts: HostFacts) -> str | None:
    """The variant of merging that is undone in every block; None where tokens stay merged, for good or to the end.

    ``unmerge`` is 'block' or 'end', ``dense=True`` the older name of 'block'; 'end' is the default where the host can.

    Raises:
        RecipeError: The two contradict each other, or the host cannot do what is asked for.
    """
    if not _undone_in_blocks(given, place, facts):
        if given.get("variant") is not None:
            raise place.at("variant").error(given["variant"], "means nothing without unmerge='block'", "leave it out")
        return None
    variant = choice(given.get("variant") or facts.variants[0], place.at("variant"), _VARIANTS)
    reason = (
        f"{facts.name} merges around its branches, as published"
        if facts.variants == ("sd",)
        else f"{facts.name} merges around whole blocks"
    )
    reject_unless(variant, place.at("variant"), facts.variants, reason)
    if variant == "sd" and (len(facts.grid) != 2 or any(side % 2 for side in facts.grid)):
        raise place.at("variant").error(
            variant,
            f"needs a grid of 2x2 cells, found {_shown(facts.grid)} patches",
            "use even sides, or variant='tome'" if "tome" in facts.variants else "use even sides",
        )
    return variant


def _undone_in_blocks(given: Mapping[str, object], place: Place, facts: HostFacts) -> bool:
    asked: dict[str, bool] = {}
    if given.get("unmerge") is not None:
        asked["unmerge"] = choice(given["unmerge"], place.at("unmerge"), ("end", "block")) == "block"
    if given.get("dense") is not None:
        asked["dense"] = boolean(given["dense"], place.at("dense"))
    for key, in_blocks in asked.items():
        if not facts.variants and (in_blocks or key == "unmerge"):
            reason = f"{facts.name} reads merged tokens, none has to come back"
            raise place.at(key).error(given[key], f"unsupported: {reason}", f"leave {key} out")
        if facts.variants and not facts.restores and not in_blocks:
            remedy = "supported: " + ("True" if key == "dense" else "'block'")
            raise place.at(key).error(given[key], f"unsupported: {facts.name} needs every token back", remedy)
    if len({*asked.values()}) == 2:
        problem = f"contradicts unmerge={given['unmerge']!r}; it is the older name of unmerge='block'"
        raise place.at("dense").error(given["dense"], problem, "leave dense out")
    by_itself = bool(facts.variants) and (not facts.restores or given.get("variant") is not None)
    return next(iter(asked.values()), by_itself)


def delay_and_windows(given: Mapping[str, object], place: Place, facts: HostFacts) -> tuple[int, int | None, int]:
    """DSM's delay in blocks (a sixth of them by default), first window and growth in tokens. Raises: RecipeError."""
    delay = given.get("delay")
    delayed = integer(round(facts.depth / 6) if delay is None else delay, place.at("delay"), 0, facts.depth)
    growth = integer(given.get("growth", 1), place.at("growth"), minimum=0)
    at = place.at("window")
    if "window" in given and given["window"] is None:
        return delayed, None, growth
    side = min(facts.grid)
    if len(facts.grid) != 2 or side < 2:
        raise at.error(
            given.get("window", _DEFAULT_WINDOW),
            f"windows need a grid of rows and columns, found {_shown(facts.grid)} patches",
            "write window=None, or use tome",
        )
    window = integer(given.get("window", min(_DEFAULT_WINDOW, side)), at, minimum=2)
    if window > side:
        raise at.error(
            window, f"exceeds the grid of {_shown(facts.grid)} patches", f"use 2 to {side}, or None for no windows"
        )
    return delayed, window, growth


def _proportional_attention(given: Mapping[str, object], place: Place, dense: str | None) -> bool:
    at = place.at("proportional_attention")
    proportional = boolean(given.get("proportional_attention", dense != "sd"), at)
    if dense == "sd":
        reject_unless(proportional, at, (False,), "the Stable Diffusion variant attends without sizes")
    return proportional


def _rope(given: Mapping[str, object], place: Place, facts: HostFacts) -> str | None:
    rope = given.get("rope")
    if facts.rotary:
        return choice("destination" if rope is None else rope, place.at("rope"), ("destination", "mean"))
    if rope is not None:
        raise place.at("rope").error(
            rope, f"means nothing: {facts.title} like this has no rotary positions", "leave it out"
        )
    return None


def _pool(given: Mapping[str, object], place: Place, facts: HostFacts) -> str:
    at = place.at("pool")
    pool = choice(given.get("pool", "mean"), at, ("mean", "size_weighted"))
    if facts.pooling != "avg":
        reason = f"its global_pool is {facts.pooling!r}" if facts.pooling is not None else "it predicts for every token"
        reject_unless(pool, at, ("mean",), f"{facts.name} does not average its tokens: {reason}")
    return pool


def _shown(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))
