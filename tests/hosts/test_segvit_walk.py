"""A SegViT walked block by block is the model's own layers in order, and its class-map tail takes no more classes than pay."""

from __future__ import annotations

import pytest
import torch
from small_models import small_atm_spec, small_head, small_spec

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.seeded import seed_weights
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.hosts.segvit.walk import PublishedSegVitWalk, SegVitWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.trace import Departed, Trace

SIZE = InputSpec(2, 64, 96, None)
PLAIN = TailSpec("plain", 5)


def seeded(spec: SegVitSpec) -> SegVit:
    model = SegVit(spec).eval()
    seed_weights(model, 0)
    return model


def image() -> torch.Tensor:
    return torch.randn(SIZE.shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(
    "spec",
    [small_spec(), small_spec(with_cls_token=True, final_norm=True), small_atm_spec()],
    ids=["PruneHead", "class token and final norm", "ATMHead"],
)
def test_the_walk_is_the_models_layers(spec: SegVitSpec) -> None:
    model = seeded(spec)
    walk = SegVitWalk(model, SIZE, "scores", PLAIN)
    pixels, context = walk.begin(image())
    assert context is None and torch.equal(pixels, image())
    backbone = model.backbone
    expected = backbone.embed(patches_from_image(image(), 16), backbone.position_grid(4, 6))
    x = walk.embed(pixels)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(walk.embed_patches(patches_from_image(pixels, 16), walk.position), expected)
    stages, read = {}, {}
    for number, layer in enumerate(backbone.layers, start=1):
        expected = layer(expected)
        x = walk.block(number)(x)
        torch.testing.assert_close(x, expected)
        stages[number], read[number] = x, backbone.patch_tokens(expected, number)
    found = walk.predict(stages, Trace(), "mean")
    head = model.decode_head
    if isinstance(head, AtmHead):
        scores = AtmHead.image_scores(*head([read[block] for block in head.spec.stages]), (4, 6), (64, 96))
    else:
        cells = PruneHead.token_scores(*head(read[4])).unflatten(2, (4, 6))
        scores = torch.nn.functional.interpolate(cells, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found["scores"], scores)


@torch.no_grad()
def test_an_exit_predicts_what_its_head_does() -> None:
    model = seeded(small_spec())
    walk = SegVitWalk(model, SIZE, "scores", PLAIN)
    assert list(walk.exits) == ["2", "3"]
    tokens = torch.randn(2, 24, 32, generator=torch.Generator().manual_seed(1))
    for block in (2, 3):
        class_logits, masks = model.auxiliary_head_after(block)(tokens)
        for said in (walk.exits[str(block)](tokens), PublishedSegVitWalk(model, SIZE, "scores").exit(block, tokens)):
            torch.testing.assert_close(said.scores, PruneHead.token_scores(class_logits, masks))
            torch.testing.assert_close(said.rows, masks.transpose(1, 2))


@torch.no_grad()
def test_tokens_that_left_keep_their_rows_in_the_prediction() -> None:
    """The final head's own masks where its tokens are, those that left where they were."""
    model = seeded(small_spec())
    walk = SegVitWalk(model, SIZE, "scores", PLAIN)
    generator = torch.Generator().manual_seed(2)
    tokens, rows = torch.randn(2, 20, 32, generator=generator), torch.randn(2, 4, 5, generator=generator)
    gone = torch.tensor([[0, 7, 8, 23], [1, 2, 3, 4]], dtype=torch.int32)
    alive = torch.tensor([[t for t in range(24) if t not in row] for row in gone.tolist()], dtype=torch.int32)
    found = walk.predict({4: tokens}, Trace(alive=alive, departed=[Departed(gone, rows)]), "mean")["scores"]
    class_logits, masks = model.decode_head(tokens)
    canvas = torch.zeros(2, 5, 24)
    for number in range(2):
        canvas[number, :, alive[number].long()] = masks[number]
        canvas[number, :, gone[number].long()] = rows[number].T
    cells = PruneHead.token_scores(class_logits, canvas).unflatten(2, (4, 6))
    expected = torch.nn.functional.interpolate(cells, size=(64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("tail", "classes", "candidates", "fast"),
    [
        (TailSpec("fast", 16), 150, 16, True),
        (TailSpec("fast", 75), 150, 75, True),
        (TailSpec("fast", 76), 150, 150, True),  # more than half are all: no slower, and exact
        (TailSpec("plain", 16), 150, 150, False),
    ],
)
def test_candidates_of_the_class_map(tail: TailSpec, classes: int, candidates: int, fast: bool) -> None:
    spec = small_spec()
    spec = SegVitSpec(spec.type, spec.backbone, small_head(4, num_classes=classes), ())
    walk = SegVitWalk(seeded(spec), SIZE, "class_map", tail)
    found = walk.class_map_tail
    assert found is not None
    assert (found.num_classes, found.grid, found.size) == (classes, (4, 6), (64, 96))
    assert (found.candidates, found.fast) == (candidates, fast)
    named = ("class_map", "class_scores", *(("uncertified_pixels",) if fast else ()))
    assert walk.output_names == named
    with torch.no_grad():
        outputs = walk.predict({4: torch.randn(2, 24, 32)}, Trace(), "mean")
    assert tuple(outputs) == named
    assert (outputs["class_map"].shape, outputs["class_map"].dtype) == ((2, 64, 96), torch.int32)


def test_scores_and_atm_heads_have_no_class_map_tail() -> None:
    assert SegVitWalk(seeded(small_spec()), SIZE, "scores", TailSpec("fast", 2)).class_map_tail is None
    walk = SegVitWalk(seeded(small_atm_spec()), SIZE, "class_map", PLAIN)
    assert walk.class_map_tail is None and walk.output_names == ("class_map", "class_scores")
