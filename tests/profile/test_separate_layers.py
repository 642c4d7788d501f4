"""Times by part of a bundle of two graphs: the policy network's nodes are among them, in ONNX Runtime as in its engines."""

from __future__ import annotations

import pytest
from shared_builds import SharedBuilds
from shared_cases import SEPARATE_RECIPE

from edgeexport.backends.engine import engine_record, runner_from_bundle
from edgeexport.bundle import open_bundle
from edgeexport.profile.inputs import golden_feed
from edgeexport.profile.layers import measure_layers


@pytest.mark.parametrize("engine", ["none", "auto"])
def test_the_policy_network_has_its_share_of_the_time(builds: SharedBuilds, engine: str) -> None:
    bundle = open_bundle(builds.bundle("separate.py", "cpu", text=SEPARATE_RECIPE))
    feed = golden_feed(bundle)
    assert feed.extra == {}
    record = engine_record(bundle) if engine == "auto" else None
    found = measure_layers(bundle, runner_from_bundle(bundle, engine), record, feed.image, feed.extra, runs=1)
    assert found is not None
    parts = {part["part"]: part for part in found.as_dict()["parts"]}
    assert parts["policy"]["ms"] > 0 and parts["block_1"]["ms"] > 0
    assert found.as_dict()["attributed_share"] > 0.9
