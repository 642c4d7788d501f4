"""Normalisation inside the model, against numpy in double precision, in both channel orders."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from edgeexport.graph.export import exported_model
from edgeexport.inputs.spec import InputSpec, Preprocess
from edgeexport.tokens.preprocess import normalised_image

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def expected_planes(pixels: Tensor, bgr_to_rgb: bool) -> np.ndarray:
    values = pixels.numpy().astype(np.float64)
    values = values[..., ::-1] if bgr_to_rgb else values
    return ((values - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("bgr_to_rgb", [True, False])
def test_pixels_are_normalised_after_the_channels_are_in_order(bgr_to_rgb: bool) -> None:
    pixels = torch.randint(256, (2, 4, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = normalised_image(pixels, InputSpec(2, 4, 6, Preprocess(MEAN, STD, bgr_to_rgb)))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected_planes(pixels, bgr_to_rgb), atol=1e-5, rtol=1e-5)


def test_normalised_images_pass_unchanged() -> None:
    image = torch.randn(1, 3, 4, 6)
    assert normalised_image(image, InputSpec(1, 4, 6, None)) is image


def test_exported_graph_takes_bytes() -> None:
    spec = InputSpec(2, 4, 6, Preprocess(MEAN, STD, bgr_to_rgb=True))

    class Normalise(torch.nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor]:
            return (normalised_image(image, spec),)

    pixels = torch.randint(256, (2, 4, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model = exported_model(Normalise().eval(), (torch.zeros_like(pixels),), ["image"], ["planes"], {})
    assert model.graph.input[0].type.tensor_type.elem_type == 2  # uint8
    for node in model.graph.node:  # some parsers refuse a Slice that steps backwards
        assert node.op_type != "Slice"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": pixels.numpy()})
    np.testing.assert_allclose(found, expected_planes(pixels, True), atol=1e-5, rtol=1e-5)
