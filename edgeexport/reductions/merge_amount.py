"""How many tokens each block is asked to merge: a recipe's ``r``.

Three forms, which a manifest's JSON keeps apart:

- ``8``: that many in every block;
- ``(8, -1.0)``: a mean and an inflection from -1 (falling to zero) to 1 (rising from zero). Any tuple of two is this
  form, and so is a list of two whose second entry is a float or negative, because JSON turns tuples into lists;
- ``[3, 0, 5, 1]``: one count per block, padded with zeros.
"""

from __future__ import annotations

from edgeexport.config.place import Place
from edgeexport.config.values import integer, number

__all__ = ["parsed_r", "resolved_r"]


def parsed_r(r: object, depth: int, place: Place | None = None) -> tuple[int, ...]:
    """One count per block, before clamping.

    A schedule rises or falls in ``depth`` equal steps from ``lo = int(r (1 - inflection))`` to ``2 r - lo``, each count
    truncated towards zero after the step was multiplied: ToMe's published `parse_r` rounds in this order. A schedule
    over one block is ``r`` itself.

    Args:
        r: As a recipe gives it.
        depth: Blocks of the host, positive.
        place: Where it stands; only for messages.

    Raises:
        RecipeError: No count of tokens, an inflection out of range, or more entries than blocks.
    """
    at = Place("r") if place is None else place
    if _is_schedule(r):
        return _interpolated(r[0], r[1], depth, at)  # type: ignore[index]
    if isinstance(r, (list, tuple)):
        if len(r) > depth:
            blocks = "1 block" if depth == 1 else f"{depth} blocks"
            raise at.error(
                r, f"has {len(r)} entries, but the model has {blocks}", f"give at most {depth}, one per block"
            )
        counts = [integer(count, at.at(position), minimum=0) for position, count in enumerate(r)]
        return (*counts, *[0] * (depth - len(counts)))
    return (integer(r, at, minimum=0),) * depth


def resolved_r(r: object) -> object:
    """A valid ``r`` spelt so that JSON keeps its form: an inflection is a float, a tuple becomes a list."""
    if _is_schedule(r):
        return [r[0], float(r[1])]  # type: ignore[index]
    return list(r) if isinstance(r, (list, tuple)) else r


def _is_schedule(r: object) -> bool:
    if not isinstance(r, (list, tuple)) or len(r) != 2:
        return False
    second = r[1]
    if isinstance(second, float):
        return True
    return isinstance(r, tuple) or (isinstance(second, int) and second < 0)


def _interpolated(mean: object, inflection: object, depth: int, place: Place) -> tuple[int, ...]:
    count = integer(mean, place.at(0), minimum=0)
    slope = number(inflection, place.at(1))
    if not -1 <= slope <= 1:
        raise place.error(
            [mean, inflection],
            "reads as (r, inflection), and an inflection is from -1 (falling) to 1 (rising)",
            "use -1.0, or write one integer per block as a list",
        )
    if depth == 1:
        return (count,)
    lowest = int(count * (1.0 - slope))
    step = (2 * count - lowest - lowest) / (depth - 1)
    return tuple(int(lowest + step * block) for block in range(depth))
