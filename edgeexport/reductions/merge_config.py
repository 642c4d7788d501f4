"""A recipe's ``reduction.tome`` and ``reduction.dsm``: how many tokens merge in which block, and by which rules.

Counts are what the recipe asks for; the limits of each block are applied by the schedule, which reports them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, reject_unless
from edgeexport.recipe.schema import MergeSpec
from edgeexport.reductions.merge_amount import parsed_r, resolved_r

__all__ = ["REDUCTION_KEYS", "MergeHost", "merge_from_config", "merge_method", "parsed_r", "resolved_merge"]

REDUCTION_KEYS = ("cts", "dsm", "dtop", "tome")
_SHARED_KEYS = ("metric", "pool", "proportional_attention", "r")
_DEFAULT_WINDOW = 7  # tokens, the paper's
_METRICS = ("k", "x", "q", "v")
_VARIANTS = ("tome", "sd")
_WHY_NOT_TOGETHER = "one recipe merges by one method, and merging is not defined on shared or pruned tokens"


@dataclass(frozen=True)
class MergeHost:
    """What a merge has to know of its host.

    Attributes:
        name: For messages.
        depth: Blocks.
        grid: (Time steps,) rows, columns of patches.
        variants: Those that a host which predicts for every token can take, its default first; none: a classifier,
            which keeps tokens merged.
        pooling: How the host's tokens become one, for messages; None: they do not.
    """

    name: str
    depth: int
    grid: tuple[int, ...]
    variants: tuple[str, ...]
    pooling: str | None


def merge_method(config: dict[str, object], place: Place) -> str | None:
    """'tome', 'dsm' or None: what a ``reduction`` (a dict with `REDUCTION_KEYS`) merges by.

    Raises:
        RecipeError: It is combined with another method.
    """
    asked = [key for key in REDUCTION_KEYS if config.get(key) is not None]
    merging = [key for key in ("tome", "dsm") if key in asked]
    if merging and len(asked) > 1:
        other = next(key for key in asked if key != merging[0])
        raise place.error(
            config,
            f"{merging[0]} and {other} cannot be combined: {_WHY_NOT_TOGETHER}",
            f"leave {merging[0]} or {other} out (in a recipe with a base: reduction=dict(_delete_=True, ...))",
        )
    return merging[0] if merging else None


def merge_from_config(config: dict[str, object], place: Place, host: MergeHost) -> MergeSpec | None:
    """Validates ``tome`` or ``dsm`` of a ``reduction`` for a host; None where it names neither.

    Raises:
        RecipeError: A key is unknown, a value has the wrong type or range, or the host cannot do what it asks for.
    """
    method = merge_method(config, place)
    if method is None:
        return None
    at = place.at(method)
    own = ("dense", "variant") if method == "tome" else ("delay", "growth", "window")
    if method == "dsm" and host.variants:
        raise at.error(
            config[method],
            f"unsupported: DSM is for classifiers, and {host.name} needs every token back",
            "use tome=dict(r=..., dense=True)",
        )
    given = mapping(config[method], at, (*_SHARED_KEYS, *own))
    if "r" not in given:
        raise at.missing("r", "r=8 (tokens to merge in each block)")
    r = parsed_r(given["r"], host.depth, at.at("r"))
    dense = _dense(given, at, host) if method == "tome" else None
    metric = choice(given.get("metric", "k" if dense is None else "x"), at.at("metric"), _METRICS)
    if dense is not None:
        reason = f"tokens are matched before the block, where its {metric} is not known yet"
        reject_unless(metric, at.at("metric"), ("x",), reason)
    delay, window, growth = _delay_and_windows(given, at, host) if method == "dsm" else (0, None, 1)
    return MergeSpec(
        method=method,
        r=r,
        proportional_attention=_proportional_attention(given, at, dense),
        pool=_pool(given, at, host),
        metric=metric,
        dense=dense,
        delay=delay,
        window=window,
        growth=growth,
    )


def resolved_merge(config: dict[str, object], spec: MergeSpec) -> dict[str, object]:
    """``{method: ...}`` with defaults filled in, JSON-ready, which reads as the same `MergeSpec`."""
    given = config[spec.method]
    assert isinstance(given, dict)  # as validated
    resolved: dict[str, object] = {
        "r": resolved_r(given["r"]),
        "proportional_attention": spec.proportional_attention,
        "pool": spec.pool,
        "metric": spec.metric,
    }
    if spec.method == "dsm":
        resolved.update(delay=spec.delay, window=spec.window, growth=spec.growth)
    else:
        resolved["dense"] = spec.dense is not None
        if spec.dense is not None:
            resolved["variant"] = spec.dense
    return {spec.method: resolved}


def _dense(given: dict[str, object], place: Place, host: MergeHost) -> str | None:
    """The variant of merging around blocks, or None where tokens stay merged."""
    dense = boolean(given.get("dense", bool(host.variants)), place.at("dense"))
    if not host.variants:
        reason = f"{host.name} reads merged tokens, none has to come back"
        reject_unless(dense, place.at("dense"), (False,), reason)
        if given.get("variant") is not None:
            raise place.at("variant").error(given["variant"], "means nothing without dense=True", "leave it out")
        return None
    reject_unless(dense, place.at("dense"), (True,), f"{host.name} needs every token back")
    variant = choice(given.get("variant") or host.variants[0], place.at("variant"), _VARIANTS)
    reject_unless(variant, place.at("variant"), host.variants, f"{host.name} merges around its branches, as published")
    if variant == "sd" and (len(host.grid) != 2 or any(side % 2 for side in host.grid)):
        raise place.at("variant").error(
            variant,
            f"needs a grid of 2x2 cells, found {_shown(host.grid)} patches",
            "use even sides, or variant='tome'" if "tome" in host.variants else "use even sides",
        )
    return variant


def _proportional_attention(given: dict[str, object], place: Place, dense: str | None) -> bool:
    at = place.at("proportional_attention")
    proportional = boolean(given.get("proportional_attention", dense != "sd"), at)
    if dense == "sd":
        reject_unless(proportional, at, (False,), "the Stable Diffusion variant attends without sizes")
    return proportional


def _pool(given: dict[str, object], place: Place, host: MergeHost) -> str:
    at = place.at("pool")
    pool = choice(given.get("pool", "mean"), at, ("mean", "size_weighted"))
    if host.pooling != "avg":
        found = f"its global_pool is {host.pooling!r}" if host.pooling is not None else "it predicts for every token"
        reject_unless(pool, at, ("mean",), f"{host.name} does not average its tokens: {found}")
    return pool


def _delay_and_windows(given: dict[str, object], place: Place, host: MergeHost) -> tuple[int, int | None, int]:
    """DSM's delay in blocks (a sixth of them by default), first window and growth in tokens."""
    delay = given.get("delay")
    delayed = integer(round(host.depth / 6) if delay is None else delay, place.at("delay"), 0, host.depth)
    growth = integer(given.get("growth", 1), place.at("growth"), minimum=0)
    at = place.at("window")
    if "window" in given and given["window"] is None:
        return delayed, None, growth
    side = min(host.grid)
    if len(host.grid) != 2 or side < 2:
        raise at.error(
            given.get("window", _DEFAULT_WINDOW),
            f"windows need a grid of rows and columns, found {_shown(host.grid)} patches",
            "write window=None, or use tome",
        )
    window = integer(given.get("window", min(_DEFAULT_WINDOW, side)), at, minimum=2)
    if window > side:
        raise at.error(
            window, f"exceeds the grid of {_shown(host.grid)} patches", f"use 2 to {side}, or None for no windows"
        )
    return delayed, window, growth


def _shown(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))
