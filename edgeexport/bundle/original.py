"""A bundle's original model: the files given for its weights, and whether it can be built here. Runs without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.bundle.bundle import Bundle
from edgeexport.bundle.weights_hash import weights_sha256
from edgeexport.config.files import weights_file
from edgeexport.device.packages import packages_fault
from edgeexport.errors import UsageError

__all__ = ["GivenWeights", "why_no_original"]

# What building the original model imports.
_NEEDED = ("torch", "timm", "mmengine", "onnx", "safetensors")


@dataclass(frozen=True)
class GivenWeights:
    """Files given for a bundle's weights."""

    checkpoint: Path | None
    policy: Path | None

    def check(self, origin: Mapping[str, Any]) -> None:
        """Refuses a file that the bundle was not built from.

        Args:
            origin: ``weights`` of the bundle's manifest.

        Raises:
            UsageError: Another file, or a file where the bundle has none.
            CheckpointError: A folder without weights.
        """
        for option, given, name, expected in (
            ("--checkpoint", self.checkpoint, origin["file"], origin["sha256"]),
            ("--policy-checkpoint", self.policy, origin["policy_file"], origin["policy_sha256"]),
        ):
            if given is None:
                continue
            if expected is None:
                raise UsageError(f"{option} {given}", f"the bundle has {origin['statement']}", f"leave {option} out")
            file = weights_file(given, f"{option} {given}")
            if not file.is_file():
                raise UsageError(f"{option} {given}", "no such file", f"give the path of {name}")
            digest = weights_sha256(file)
            if digest != expected:
                raise UsageError(
                    f"{option} {given}",
                    f"sha256 {digest[:12]}..., the bundle was built from {expected[:12]}...",
                    f"give the {name} that the bundle was built from",
                )


def why_no_original(bundle: Bundle, files: GivenWeights) -> str:
    """What keeps the original model from being built here; empty where nothing does."""
    fault = packages_fault(_NEEDED)
    if fault:
        return fault
    weights = bundle.manifest["weights"]
    if weights["policy_file"] is not None and files.policy is None:
        return f"the weights {weights['policy_file']} are not in the bundle; give them with --policy-checkpoint"
    if weights["origin"] == "checkpoint" and files.checkpoint is None:
        return f"the weights {weights['file']} are not in the bundle; give them with --checkpoint"
    return ""
