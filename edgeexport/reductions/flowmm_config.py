"""A recipe's ``reduction=dict(flowmm=dict(...))``."""

from __future__ import annotations

import math

from edgeexport.config.place import Place
from edgeexport.config.values import boolean, choice, integer, mapping, number, sequence
from edgeexport.reductions.flowmm_spec import FlowMMSpec
from edgeexport.tokens.cache import CacheFacts

__all__ = ["flowmm_from_config", "resolved_flowmm"]

_KEYS = ("budget", "flow", "keep_recent", "merge", "protect", "proxies", "tau", "theta")


def flowmm_from_config(value: object, place: Place, facts: CacheFacts) -> FlowMMSpec:
    """Validates ``dict(budget, theta | flow, tau | protect, proxies, keep_recent, merge)``.

    Raises:
        RecipeError: A key is unknown, a value has the wrong type or range, or two exclude each other.
    """
    config = mapping(value, place, _KEYS)
    if "budget" not in config:
        raise place.missing("budget", "budget=0.2 (a share of the prompt's places) or a number of slots")
    budget = _budget(config["budget"], place.at("budget"), facts.prompt)
    merge = choice(config.get("merge", "kv"), place.at("merge"), ("kv", "v", "evict"))
    keep_recent = integer(config.get("keep_recent", 0), place.at("keep_recent"), 0)
    if keep_recent > budget:
        raise place.at("keep_recent").error(
            keep_recent, f"more than the {budget} slots of the budget", f"use at most {budget}, or a larger budget"
        )
    theta, flow = _theta_or_flow(config, place, facts, merge)
    tau, protect = _tau_or_protect(config, place, facts, merge, budget)
    proxies = integer(config.get("proxies", 16), place.at("proxies"), 1, facts.prompt)
    return FlowMMSpec(budget, theta, flow, tau, protect, proxies, keep_recent, merge)


def resolved_flowmm(spec: FlowMMSpec) -> dict[str, object]:
    """The entry with defaults filled in, which reads as the same spec."""
    decided = {"theta": spec.theta, "flow": spec.flow, "tau": spec.tau, "protect": spec.protect}
    given = {key: _listed(value) for key, value in decided.items() if value is not None}
    return {
        "budget": spec.budget,
        **given,
        "proxies": spec.proxies,
        "keep_recent": spec.keep_recent,
        "merge": spec.merge,
    }


def _listed(value: object) -> object:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value


def _budget(value: object, place: Place, prompt: int) -> int:
    if isinstance(value, float):
        share = number(value, place)
        if not 0 < share <= 1:
            raise place.error(value, "expected a share above 0, at most 1.0", "0.2 keeps a fifth; 1.0 the whole cache")
        return math.ceil(share * prompt)
    slots = integer(value, place)
    if slots < 1:
        raise place.error(value, "expected at least 1 slot", "use 1 or more, or a share such as 0.2")
    if slots > prompt:
        raise place.error(value, f"more than the {prompt} places of the prompt", f"use at most {prompt}")
    return slots


def _theta_or_flow(
    config: dict[str, object], place: Place, facts: CacheFacts, merge: str
) -> tuple[float | None, tuple[bool, ...] | None]:
    theta, flow = config.get("theta"), config.get("flow")
    if theta is not None and flow is not None:
        raise place.at("flow").error(flow, "given beside theta", "leave one of them out")
    if flow is not None:
        at = place.at("flow")
        if isinstance(flow, bool):
            return None, (flow,) * facts.layers
        values = sequence(flow, at, facts.layers)
        return None, tuple(boolean(item, at.at(n)) for n, item in enumerate(values))
    if theta is not None:
        return number(theta, place.at("theta")), None
    if merge != "evict":
        raise place.missing("theta", "theta=0.3 (adaptive), or flow=[True, False, ...] with an entry per layer")
    return None, None


def _tau_or_protect(
    config: dict[str, object], place: Place, facts: CacheFacts, merge: str, budget: int
) -> tuple[float | None, tuple[tuple[int, ...], ...] | None]:
    tau, protect = config.get("tau"), config.get("protect")
    if tau is not None and protect is not None:
        raise place.at("protect").error(protect, "given beside tau", "leave one of them out")
    if protect is not None:
        return None, _protect(protect, place.at("protect"), facts, budget)
    if tau is not None:
        return number(tau, place.at("tau")), None
    if merge != "evict":
        raise place.missing("tau", "tau=0.5 (adaptive), or protect=8 (pivots that absorb nothing)")
    return None, None


def _protect(value: object, place: Place, facts: CacheFacts, budget: int) -> tuple[tuple[int, ...], ...]:
    """One number, one per layer, or one per layer and KV head."""
    layers = sequence(value, place, facts.layers) if isinstance(value, (list, tuple)) else [value] * facts.layers
    table = []
    for n, layer in enumerate(layers):
        at = place.at(n) if isinstance(value, (list, tuple)) else place
        heads = sequence(layer, at, facts.kv_heads) if isinstance(layer, (list, tuple)) else [layer] * facts.kv_heads
        table.append(tuple(integer(head, at, 0, budget) for head in heads))
    return tuple(table)
