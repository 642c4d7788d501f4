"""ViT: patches against a convolution, positions for other grids, blocks against torch's own layers, key names."""

from __future__ import annotations

import pytest
import torch
from small_models import small_backbone
from torch import nn
from torch.nn import functional as F

from edgeexport.hosts.segmentation.vit import VitBackbone, VitBlock
from edgeexport.tokens.patches import patches_from_image


def drawn(module: nn.Module) -> nn.Module:
    """With random weights, norms included."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.eval()


@pytest.mark.parametrize(("height", "width", "patch"), [(8, 12, 4), (48, 16, 16), (6, 6, 3)])
def test_patches_are_row_major_pixels(height: int, width: int, patch: int) -> None:
    image = torch.arange(2 * 3 * height * width, dtype=torch.float32).reshape(2, 3, height, width)
    found = patches_from_image(image, patch)
    columns = width // patch
    assert found.shape == (2, height * width // patch**2, 3 * patch**2)
    for index in range(found.shape[1]):
        row, column = divmod(index, columns)
        area = image[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
        assert torch.equal(found[:, index], area.flatten(1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_embedding_flat_patches_equals_the_convolution(size: tuple[int, int], bias: bool) -> None:
    backbone = drawn(VitBackbone(small_backbone(patch_bias=bias)))
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        found = backbone.embed(patches_from_image(image, 16), torch.zeros(1, 1, 32))
        expected = backbone.patch_embed.projection(image).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (backbone.patch_embed.projection.bias is not None) == bias


def test_position_grid_of_the_trained_size_is_the_weights() -> None:
    backbone = drawn(VitBackbone(small_backbone(img_size=(64, 96))))
    assert backbone.trained_grid == (4, 6)
    assert torch.equal(backbone.position_grid(4, 6), backbone.pos_embed[:, 1:])
    # The same number of patches in another arrangement is another grid.
    assert not torch.equal(backbone.position_grid(6, 4), backbone.pos_embed[:, 1:])


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("grid", [(3, 7), (8, 2), (5, 5)])
def test_position_grid_interpolates_without_aligned_corners(grid: tuple[int, int], mode: str) -> None:
    backbone = drawn(VitBackbone(small_backbone(img_size=(64, 96), interpolate_mode=mode)))
    found = backbone.position_grid(*grid)
    assert found.shape == (1, grid[0] * grid[1], 32)
    image = backbone.pos_embed[0, 1:].reshape(4, 6, 32).permute(2, 0, 1)[None]
    expected = F.interpolate(image, size=grid, mode=mode, align_corners=False)
    assert torch.equal(found[0].reshape(*grid, 32), expected[0].permute(1, 2, 0))


def test_position_grid_keeps_rows_and_columns_apart() -> None:
    """A ramp along the columns stays one along the columns."""
    backbone = VitBackbone(small_backbone(img_size=(64, 96), interpolate_mode="bilinear"))
    with torch.no_grad():
        backbone.pos_embed[0, 1:] = torch.arange(6.0).repeat(4)[:, None]
        found = backbone.position_grid(2, 12).reshape(2, 12, 32)
    assert torch.equal(found[0], found[1])
    assert (found[0, :, 0].diff() >= 0).all() and found[0, -1, 0] == 5


def test_block_equals_torch_layers() -> None:
    """Pre-norm block against `nn.MultiheadAttention` and plain layers with the same weights."""
    block = drawn(VitBlock(small_backbone()))
    attention = nn.MultiheadAttention(32, 2, batch_first=True)
    attention.load_state_dict(block.attn.attn.state_dict())
    x = torch.randn(3, 7, 32)
    with torch.no_grad():
        normed = block.ln1(x)
        middle = x + attention(normed, normed, normed, need_weights=False)[0]
        expected = middle + block.ffn.layers[1](F.gelu(block.ffn.layers[0][0](block.ln2(middle))))
        torch.testing.assert_close(block(x), expected, atol=1e-4, rtol=1e-4)


def test_block_without_qkv_bias() -> None:
    block = drawn(VitBlock(small_backbone(qkv_bias=False)))
    assert "attn.attn.in_proj_bias" not in block.state_dict()
    assert block(torch.randn(1, 3, 32)).shape == (1, 3, 32)


def test_class_token_comes_first_with_its_own_position_and_is_dropped_for_heads() -> None:
    backbone = drawn(VitBackbone(small_backbone(with_cls_token=True)))
    with torch.no_grad():
        x = backbone.embed(torch.randn(2, 16, 768), backbone.position_grid(4, 4))
        assert x.shape == (2, 17, 32)
        assert torch.equal(x[0, 0], (backbone.cls_token + backbone.pos_embed[:, :1])[0, 0])
        assert torch.equal(x[0, 0], x[1, 0])
        assert torch.equal(backbone.patch_tokens(x, 2), x[:, 1:])


def test_without_class_token_its_weights_do_not_matter() -> None:
    backbone = drawn(VitBackbone(small_backbone()))
    patches = torch.randn(1, 16, 768)
    with torch.no_grad():
        before = backbone.embed(patches, backbone.position_grid(4, 4))
        backbone.cls_token.fill_(9.0)
        backbone.pos_embed[:, 0] = 9.0
        assert torch.equal(backbone.embed(patches, backbone.position_grid(4, 4)), before)


def test_final_norm_applies_after_the_last_block_alone() -> None:
    backbone = drawn(VitBackbone(small_backbone(final_norm=True)))
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        assert torch.equal(backbone.patch_tokens(x, 3), x)
        assert torch.equal(backbone.patch_tokens(x, 4), backbone.ln1(x))
    assert not hasattr(VitBackbone(small_backbone()), "ln1")


def test_keys_are_those_of_mmsegmentation() -> None:
    keys = set(VitBackbone(small_backbone(final_norm=True)).state_dict())
    assert {
        "cls_token",
        "pos_embed",
        "patch_embed.projection.weight",
        "layers.0.ln1.weight",
        "layers.0.attn.attn.in_proj_weight",
        "layers.0.attn.attn.out_proj.bias",
        "layers.3.ffn.layers.0.0.weight",
        "layers.3.ffn.layers.1.bias",
        "ln1.weight",
    } <= keys
