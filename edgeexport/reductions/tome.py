"""ToMe, token merging: in every block the r pairs of tokens that are most alike become one each.

Sources: Bolya et al., "Token Merging: Your ViT But Faster", section 3; around blocks Bolya and Hoffman, "Token Merging for Fast
Stable Diffusion", section 4. A block that cannot merge as many as asked merges what it can, and both figures are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgeexport.config.place import Place
from edgeexport.reductions.merge_config import merge_spec_from_config, resolved_merge
from edgeexport.reductions.merge_spec import MergeChange, MergeSpec, merge_changes, undone_changes
from edgeexport.reductions.merging_method import MergingMethod
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["Tome"]


class Tome(MergingMethod):
    """See `Reduction`."""

    key: ClassVar[str] = "tome"
    title: ClassVar[str] = "ToMe"

    def refuses(self, facts: HostFacts) -> str:
        """Every host takes it."""
        return ""

    def spec_from_config(
        self, value: object, place: Place, facts: HostFacts, tokens: int, folder: Path
    ) -> MergeSpec | None:
        """``dict(r, metric, pool, proportional_attention, unmerge, dense, variant)``."""
        return merge_spec_from_config(self.key, value, place, facts, ("dense", "unmerge", "variant"))[0]

    def resolved(self, given: Mapping[str, object], spec: MergeSpec) -> dict[str, object]:
        """With ``dense`` and ``variant``."""
        variant = {} if spec.dense is None else {"variant": spec.dense}
        return {**resolved_merge(given, spec), "dense": spec.dense is not None, **variant}

    def changes(self, spec: MergeSpec, facts: HostFacts, tokens: int, place: Place) -> tuple[MergeChange, ...]:
        """One per executed block."""
        return (merge_changes if spec.dense is None else undone_changes)(spec, facts, tokens)
