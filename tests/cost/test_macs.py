from __future__ import annotations

import pytest

from edgeexport.cost.macs import bilinear_resize_macs, patch_embedding_macs, vit_block_macs
from edgeexport.hosts.segvit.macs import atm_head_macs, mask_einsum_macs, prune_head_macs
from edgeexport.reductions.cts_policy import policy_network_macs


def _backbone(n: int, width: int, layers: int) -> int:
    return patch_embedding_macs(n, 3, 16, width) + layers * vit_block_macs(n, width).total


def _giga(macs: int) -> float:
    return macs / 1e9


@pytest.mark.parametrize(
    ("n", "width", "gmacs"), [(1024, 768, 107.00), (715, 768, 70.64), (1024, 192, 10.44), (715, 192, 6.27)]
)
def test_backbone_alone(n: int, width: int, gmacs: float) -> None:
    assert _giga(_backbone(n, width, 12)) == pytest.approx(gmacs, rel=1e-3)


def test_dtop_with_all_three_heads() -> None:
    heads = 3 * prune_head_macs(1024, 768, 384, 3, 150)
    tail = 2 * bilinear_resize_macs(150, 512, 512)
    assert _giga(_backbone(1024, 768, 12) + heads + tail) == pytest.approx(114.96, rel=1e-3)


def test_one_resize_and_the_full_resolution_product() -> None:
    assert _giga(bilinear_resize_macs(150, 512, 512)) == pytest.approx(0.157, abs=5e-4)
    assert _giga(mask_einsum_macs(150, 512, 512)) == pytest.approx(5.898, abs=5e-4)


@pytest.mark.parametrize(
    ("n", "width", "head_width", "layers", "pixels", "gmacs"),
    [(1024, 768, 384, 12, 512, 120.88), (1600, 1024, 512, 24, 640, 637.87)],
)
def test_segvit_with_atm_head(n: int, width: int, head_width: int, layers: int, pixels: int, gmacs: float) -> None:
    """ViT-B at 512 x 512 and ViT-L at 640 x 640, three stages of three decoder layers at half the backbone's width."""
    head = atm_head_macs(n, width, head_width, 3, 150, 3)
    tail = 2 * bilinear_resize_macs(150, pixels, pixels) + mask_einsum_macs(150, pixels, pixels)
    assert _giga(_backbone(n, width, layers) + head + tail) == pytest.approx(gmacs, rel=1e-3)


def test_block_formula() -> None:
    n, c = 37, 24
    assert vit_block_macs(n, c).total == 12 * n * c**2 + 2 * n**2 * c + 10 * n * c
    assert vit_block_macs(n, c, hidden=60).mlp == 2 * n * c * 60


def test_prune_head_formula() -> None:
    n, c, d, layers, k = 37, 24, 16, 2, 7
    layer = 14 * k * d**2 + 2 * k**2 * d + 2 * n * d**2 + 2 * n * k * d + 15 * k * d
    assert prune_head_macs(n, c, d, layers, k) == n * c * d + 5 * n * d + layers * layer + 2 * k * d


def test_policy_network_at_512() -> None:
    assert _giga(policy_network_macs(512, 512)) == pytest.approx(1.971, rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (224, 96)])
def test_policy_network_against_its_layers(height: int, width: int) -> None:
    """Counts the convolutions and norms that timm's network really runs."""
    torch = pytest.importorskip("torch", reason="counts the torch network")
    pytest.importorskip("timm", reason="counts timm's network")
    from edgeexport.reductions.cts_policy import PolicyNetwork

    network = PolicyNetwork().eval()
    counted = []

    def count(module: object, inputs: object, output: object) -> None:
        elements = output.numel()  # type: ignore[attr-defined]
        weights = module.weight[0].numel() if isinstance(module, torch.nn.Conv2d) else 2
        counted.append(elements * weights)

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, height, width))
    assert policy_network_macs(height, width) == sum(counted)
