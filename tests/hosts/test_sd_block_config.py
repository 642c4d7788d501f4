from __future__ import annotations

import pytest
from recipe_cases import TINY_DIFFUSION

from edgeexport.hosts.host import TailSpec
from edgeexport.hosts.sd_block.spec import SdBlockSpec


def test_a_block_is_read(validated):
    recipe = validated({}, TINY_DIFFUSION)
    assert recipe.model == SdBlockSpec("sd_block", (4, 6), 24, 3, 5, 10)
    assert recipe.output == "tokens"
    assert recipe.tail == TailSpec("none", 0)
    assert recipe.classes == recipe.palette == ()


def test_the_defaults_are_stable_diffusions_first_resolution(validated):
    recipe = validated({}, {"model": {"type": "sd_block"}, "input": {"shape": (1, 4096, 320)}})
    assert recipe.model == SdBlockSpec("sd_block", (64, 64), 320, 8, 77, 768)
    assert recipe.text["model"] == {
        "type": "sd_block",
        "grid": [64, 64],
        "embed_dims": 320,
        "num_heads": 8,
        "context_tokens": 77,
        "context_width": 768,
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("grids", (4, 6), "model.grids = (4, 6) | unknown key 'grids' | did you mean 'grid'?"),
        ("grid", 64, "model.grid = 64 | expected 2 values, found an int"),
        ("grid", (4, 0), "model.grid[1] = 0 | out of range: expected an integer of at least 1"),
        ("embed_dims", 25, "model.num_heads = 3 | does not divide embed_dims = 25"),
        ("num_heads", 5, "model.num_heads = 5 | does not divide embed_dims = 24"),
        ("context_tokens", 0, "model.context_tokens = 0 | out of range"),
        ("context_width", "768", "model.context_width = '768' | expected an integer of at least 1, found a str"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(key, value, message, refused):
    assert f"x.py: {message}" in refused({("model", key): value}, TINY_DIFFUSION)
