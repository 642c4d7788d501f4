from __future__ import annotations

import pytest

from edgeexport.device import TARGETS, Target, target_named
from edgeexport.errors import UsageError


def test_the_command_lines_targets() -> None:
    assert list(TARGETS) == ["orin", "orin-32gb", "orin-nx", "orin-nano", "thor", "gpu", "cpu"]
    assert all(name == target.name for name, target in TARGETS.items())
    assert [target.needs_tensorrt for target in TARGETS.values()] == [True] * 6 + [False]
    assert TARGETS["orin"].compute_capability == (8, 7) and TARGETS["thor"].compute_capability == (11, 0)


@pytest.mark.parametrize(
    "model", ["NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson Orin NX Engineering Reference"]
)
def test_each_jetson_is_one_target_but_for_an_agx_orins_memory(model: str) -> None:
    matching = [t.name for t in TARGETS.values() if any(part in model.lower() for part in t.jetson_models)]
    assert matching == (["orin", "orin-32gb"] if "AGX" in model else ["orin-nx"])


def test_lookup_and_unknown_name() -> None:
    assert isinstance(target_named("orin-nx"), Target) and target_named("orin-nx").name == "orin-nx"
    with pytest.raises(UsageError) as caught:
        target_named("orin-nxx")
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "--target orin-nxx | no such target, expected one of 7 | did you mean 'orin-nx'?; "
        "known: orin, orin-32gb, orin-nx, orin-nano, thor, gpu, cpu"
    )
    with pytest.raises(UsageError, match="known: cpu, gpu, orin"):
        target_named("zzzzzz")
