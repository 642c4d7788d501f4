# ruff: noqa: E501 - whole messages are asserted, one case a line
"""DToP: a recipe's ``reduction.dtop``, and what it does to the number of tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from recipe_cases import ABSENT, TINY_ATM, message_of

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.reductions.dtop import DtopSpec, PruneChange, prune_changes
from edgeexport.tokens.changes import Cut

R = ("reduction",)
CTS = {"num_shared": 5, "align_tokens": 1}


def test_defaults(validated):
    assert validated({R: {"dtop": {"prune": {2: 0}}}}).reductions == {"dtop": DtopSpec(((2, 0),), 5)}


def test_a_recipe_that_names_no_stage_has_no_dtop(validated):
    assert validated({R: {"dtop": {"prune": {}}}}).reductions == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dtop": {}}, "reduction.dtop | required key 'prune' is missing"),
        ({"dtop": {"prune": 8}}, "reduction.dtop.prune = 8 | expected a dict of block: tokens pruned after it"),
        ({"dtop": {"prun": {}}}, "reduction.dtop.prun = {} | unknown key 'prun' | did you mean 'prune'?"),
        ({"dtop": {"prune": {4: 1}}}, "reduction.dtop.prune[4] = 1 | no auxiliary head reads block 4 | blocks with an auxiliary head: 2, 3"),
        ({"dtop": {"prune": {"2": 1}}}, "reduction.dtop.prune.2 = 1 | a block is an integer, found '2' | blocks with an auxiliary head: 2, 3"),
        ({"dtop": {"prune": {True: 1}}}, "reduction.dtop.prune[True] = 1 | a block is an integer, found True"),
        ({"dtop": {"prune": {2: -1}}}, "reduction.dtop.prune[2] = -1 | out of range: expected an integer of at least 0"),
        ({"dtop": {"prune": {2: 1.0}}}, "reduction.dtop.prune[2] = 1.0 | expected an integer of at least 0, found a float"),
        ({"dtop": {"prune": {2: True}}}, "reduction.dtop.prune[2] = True | expected an integer of at least 0, found a bool"),
        ({"dtop": {"prune": {2: 65}}}, "reduction.dtop.prune[2] = 65 | exceeds the 64 tokens entering block 2 | use a value below 64"),
        ({"dtop": {"prune": {2: 64}}}, "reduction.dtop.prune[2] = 64 | leaves none of the 64 tokens entering block 2 | use a value below 64"),
        ({"dtop": {"prune": {3: 44, 2: 20}}}, "reduction.dtop.prune[3] = 44 | leaves none of the 44 tokens entering block 3 | use a value below 44"),
        ({"cts": CTS, "dtop": {"prune": {2: 50}}}, "reduction.dtop.prune[2] = 50 | exceeds the 49 tokens entering block 2 | use a value below 49"),
        ({"cts": {"num_shared": 5}, "dtop": {"prune": {2: 40}}}, "reduction.dtop.prune[2] = 40 | leaves none of the 40 tokens entering block 2 | use a value below 40"),
        ({"dtop": {"prune": {2: 1}, "protect_per_class": -1}}, "reduction.dtop.protect_per_class = -1 | out of range"),
    ],
)  # fmt: skip
def test_counts_and_blocks_that_do_not_fit_are_refused(given, message, refused):
    assert f"x.py: {message}" in refused({R: given})


@pytest.mark.parametrize("prune", [{2: 63}, {2: 20, 3: 43}, {2: 0, 3: 0}])
def test_one_token_may_be_left(prune, validated):
    assert dict(validated({R: {"dtop": {"prune": prune}}}).reductions["dtop"].prune) == prune


def test_a_model_without_auxiliary_heads_names_none(refused):
    changes = {R: {"dtop": {"prune": {2: 1}}}, ("model", "auxiliary_head"): ABSENT}
    assert "no auxiliary head reads block 2 | blocks with an auxiliary head: none" in refused(changes)


def test_dtop_needs_prune_heads(refused):
    message = refused({R: {"dtop": {"prune": {3: 1}}}}, TINY_ATM)
    assert "x.py: reduction.dtop = {'prune': {3: 1}} | needs PruneHead, found ATMHead" in message


def test_what_leaves_where(validated):
    """A stage that prunes nothing does not exist."""
    facts = validated().facts
    changes = prune_changes(((2, 10), (3, 4)), facts, 49, Place("x.py"))
    assert changes == tuple(
        PruneChange(block=block, cut=Cut.EXIT, tokens_in=before, tokens_out=after, working=after,
                    reason=f"pruned {before - after} after block {block}", pruned=before - after)
        for block, before, after in ((2, 49, 39), (3, 39, 35))
    )  # fmt: skip
    assert [change.block for change in prune_changes(((2, 0), (3, 4)), facts, 49, Place("x.py"))] == [3]


@pytest.mark.parametrize(
    ("counts", "reads", "message"),
    [
        (((2, -1),), (4,), "reduction.dtop.prune[2] = -1 | is negative | use 0 (no pruning there) or more"),
        (((1, 5),), (4,), "reduction.dtop.prune[1] = 5 | no auxiliary head reads block 1 (heads read: 2, 3) | add a PruneHead whose in_index selects that block, or prune where a head is"),
        (((3, 5),), (2,), "reduction.dtop.prune[3] = 5 | the final head reads block 2, before these tokens leave | prune earlier"),
        (((3, 5),), (4, 3, 2), "reduction.dtop.prune[3] = 5 | the final head reads 3 blocks and cannot follow tokens that left between them | use PruneHead as decode_head"),
        (((2, 64),), (4,), "reduction.dtop.prune[2] = 64 | leaves none of the 64 tokens entering block 2 | use a value below 64"),
        (((2, 40), (3, 25)), (4,), "reduction.dtop.prune[3] = 25 | exceeds the 24 tokens entering block 3 | use a value below 24"),
    ],
)  # fmt: skip
def test_counts_that_no_recipe_file_went_through_are_checked_too(counts, reads, message, validated):
    """As calibration proposes them."""
    facts = replace(validated().facts, reads=reads)
    with pytest.raises(RecipeError) as caught:
        prune_changes(counts, facts, 64, Place("x.py").at("reduction").at("dtop").at("prune"))
    assert message_of(caught.value) == f"x.py: {message}"
