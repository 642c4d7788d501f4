"""Token reduction methods, a file each: spec, counts, exported step, published step, work, decisions."""

from __future__ import annotations

from edgeexport.reductions.algm import Algm
from edgeexport.reductions.cache_reduction import CacheReduction
from edgeexport.reductions.cts import Cts
from edgeexport.reductions.dsm import Dsm
from edgeexport.reductions.dtop import Dtop
from edgeexport.reductions.flowmm import FlowMM
from edgeexport.reductions.random import Random
from edgeexport.reductions.reduction import Reduction
from edgeexport.reductions.tome import Tome

__all__ = ["CACHE_REDUCTIONS", "REDUCTIONS"]

REDUCTIONS: dict[str, Reduction] = {
    "cts": Cts(),
    "dtop": Dtop(),
    "tome": Tome(),
    "dsm": Dsm(),
    "algm": Algm(),
    "random": Random(),
}
"""Key of a recipe's ``reduction`` -> the method, in the order in which methods act."""

CACHE_REDUCTIONS: dict[str, CacheReduction] = {"flowmm": FlowMM()}
"""The same for methods that act on the cache between a prompt and what is decoded from it; one to a recipe."""
