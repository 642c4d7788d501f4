"""The bundles on which the cases of this folder rest, each built once per run."""

from __future__ import annotations

import json

import pytest
import report_cases
from shared_builds import SharedBuilds
from shared_cases import SMALL_DIFFUSION_BLOCK, SMALL_DSM, TINY_RECIPE


@pytest.fixture(scope="session", autouse=True)
def built_documents(builds: SharedBuilds) -> None:
    """Fills in `report_cases.BUILT`."""
    bundles = {
        "tiny": builds.bundle("tiny.py", "orin", text=TINY_RECIPE),
        "dsm": builds.bundle("dsm_deit_s.py", "orin", options=SMALL_DSM),
        "latent": builds.bundle("tome_sd_block.py", "cpu", options=SMALL_DIFFUSION_BLOCK),
    }
    for name, bundle in bundles.items():
        for document in ("manifest", "tokens", "parity"):
            report_cases.BUILT[f"{name}/{document}"] = json.loads((bundle / f"{document}.json").read_text())
