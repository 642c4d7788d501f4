"""One thing that is not the same in two bundles, or in how they were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """What is not the same in A and B.

    Attributes:
        what: For people.
        a, b: As each bundle records it; 'unknown' where it does not.
        decisive: Whether measured figures cannot be compared because of it.
        speed: Whether it changes how fast a model runs, besides the model itself; what is decisive does.
    """

    what: str
    a: str
    b: str
    decisive: bool
    speed: bool = False

    def __str__(self) -> str:
        return f"{self.what}: A {self.a}, B {self.b}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)
