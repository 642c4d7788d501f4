"""Seeded weights: the same for the same seed and key whatever the recipe, and as peaked as their docstring says."""

from __future__ import annotations

import pytest
import torch
from small_models import small_atm_spec, small_head, small_spec
from torch import Tensor

from edgeexport.fixed.model import fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.hosts.segvit.heads import PruneHead
from edgeexport.hosts.segvit.seeded import MASK_OFFSET, MASK_SPREAD, PRESENT_CLASSES, seed_weights
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.inputs.batches import image_batches
from edgeexport.inputs.photos import shipped_photos
from edgeexport.ops.upsample_argmax import upsample_argmax_reference
from edgeexport.recipe import load_recipe
from edgeexport.reductions.cts_policy import PolicyNetwork


def seeded(spec: SegVitSpec, seed: int = 0, *, with_policy: bool = False) -> dict[str, Tensor]:
    model = SegVit(spec)
    if with_policy:
        model.add_module("policy_net", PolicyNetwork())
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.fill_(float("nan"))  # a weight that is not drawn shows
    seed_weights(model, seed)
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("spec", [small_spec(), small_atm_spec()], ids=["PruneHead", "ATMHead"])
def test_every_weight_is_drawn_and_finite(spec: SegVitSpec) -> None:
    for key, value in seeded(spec, with_policy=True).items():
        assert torch.isfinite(value).all(), key


def test_same_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    first = seeded(small_spec())
    torch.manual_seed(2)
    torch.rand(7)
    state = torch.get_rng_state()
    second = seeded(small_spec())
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    model = SegVit(small_spec())
    state = torch.get_rng_state()
    seed_weights(model, 0)
    assert torch.equal(torch.get_rng_state(), state)  # nor does drawing disturb anyone else


def test_other_seeds_give_other_weights() -> None:
    first, second = seeded(small_spec(), 0), seeded(small_spec(), 1)
    random = [key for key, value in first.items() if value.ndim > 1 and key != "backbone.cls_token"]
    assert len(random) > 30
    assert not [key for key in random if torch.equal(first[key], second[key])]


def test_same_key_has_the_same_weights_in_every_recipe() -> None:
    """Dense, with a policy network, with one auxiliary head fewer, and with fewer blocks."""
    full = seeded(small_spec(), with_policy=True)
    spec = small_spec()
    others = [
        seeded(spec),
        seeded(SegVitSpec(spec.type, spec.backbone, spec.decode_head, spec.auxiliary_heads[:1])),
        seeded(small_spec(num_layers=3)),
    ]
    for other in others:
        assert other.keys() < full.keys()
        assert all(torch.equal(value, full[key]) for key, value in other.items())


def test_positions_are_smooth_and_the_class_token_has_none() -> None:
    spec = small_spec(img_size=(512, 256))
    position = seeded(spec)["backbone.pos_embed"]
    assert not position[0, 0].any()
    image = position[0, 1:].reshape(32, 16, 32)
    assert 0.5 < image.std() < 2
    # Two periods over 16 columns: neighbours differ by far less than the values spread.
    assert image.diff(dim=0).abs().mean() < 0.35 * image.std()
    assert image.diff(dim=1).abs().mean() < 0.6 * image.std()


def test_class_scores_and_masks_are_peaked() -> None:
    """The head of the ViT-Ti recipes, on tokens without structure."""
    shape = dict(in_channels=192, width=192, num_layers=3, num_heads=3, num_classes=150)
    spec = small_spec(embed_dims=192)
    spec = SegVitSpec(spec.type, spec.backbone, small_head(4, **shape), ())
    model = SegVit(spec)
    seed_weights(model, 0)
    head = model.decode_head
    assert isinstance(head, PruneHead)
    with torch.no_grad():
        class_logits, masks = head(torch.randn(1, 256, 192, generator=torch.Generator().manual_seed(3)))
    present = class_logits.softmax(dim=-1)[0, :, 0]
    assert present[:PRESENT_CLASSES].min() > 0.98
    assert present[PRESENT_CLASSES:].max() < 0.02
    assert masks.mean().item() == pytest.approx(MASK_OFFSET, abs=0.5)
    assert masks.std().item() == pytest.approx(MASK_SPREAD, rel=0.15)


def assert_certified(recipe_name: str, photos: slice) -> None:
    recipe = load_recipe(recipe_name)
    assert (recipe.tail.form, recipe.tail.candidates) == ("fast", 16)
    fixed = fixed_from_model(model_from_recipe(recipe)[0], recipe)
    size = (recipe.input.height, recipe.input.width)
    for batch in image_batches(recipe.input, shipped_photos()[photos]):
        with torch.no_grad():
            trace = fixed.trace(torch.from_numpy(batch.pixels))
        assert trace.outputs["uncertified_pixels"].tolist() == [0], batch.names
        assert trace.prediction.unique().numel() > 4, batch.names  # not one class all over, which would be no test
        # And the certificate is about these scores, not about another form's.
        assert upsample_argmax_reference(trace.outputs["class_scores"], *size, 2)[1].item() > 0


def test_sixteen_candidates_certify_a_shipped_photograph() -> None:
    assert_certified("segvit_ti_cts_dtop.py", slice(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["", "_cts", "_dtop", "_dtop8", "_cts_dtop", "_cts_dtop8"])
def test_sixteen_candidates_certify_every_shipped_photograph(reduction: str) -> None:
    assert_certified(f"segvit_ti{reduction}.py", slice(None))
