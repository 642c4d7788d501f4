from __future__ import annotations

import pytest
from recipe_cases import message_of

from edgeexport.config.place import Place
from edgeexport.errors import RecipeError
from edgeexport.hosts.timm_vit.plain import built_host, check_plain, host_defaults

SMALL = dict(img_size=16, patch_size=8, embed_dim=8, depth=2, num_heads=2, num_classes=3)


def problem(host: object) -> str:
    with pytest.raises(RecipeError) as caught:
        check_plain(host, "host", Place("x.py", "model.name"))
    message = message_of(caught.value)
    assert message.startswith("x.py: model.name = 'host' | is not a plain Vision Transformer: ")
    return message.partition("Transformer: ")[2]


def test_hosts_are_built_without_memory_unless_asked_for():
    host = built_host(None, SMALL)
    assert {str(parameter.device) for parameter in host.parameters()} == {"meta"}
    assert not host.training
    assert {str(parameter.device) for parameter in built_host(None, SMALL, "cpu").parameters()} == {"cpu"}


def test_building_leaves_timms_logging_as_it_was():
    import logging

    logger = logging.getLogger("timm")
    before = logger.level
    with pytest.raises(TypeError):
        built_host(None, {**SMALL, "depth": "2"})
    assert logger.level == before


def test_the_defaults_are_those_of_the_class():
    defaults = host_defaults(Place("x.py"))
    assert defaults["img_size"] == 224
    assert "self" not in defaults


def test_a_plain_host_passes():
    check_plain(built_host(None, SMALL), "host", Place("x.py"))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"patch_drop_rate": 0.5}, "patch_drop drops patches at random"),
        ({"attn_layer": "diff"}, "blocks.0.attn is a DiffAttention, not an Attention"),
        ({"global_pool": ""}, "global_pool is '', not one of 'token', 'avg', 'max', 'avgmax', 'map'"),
    ],
)
def test_keyword_arguments_that_make_another_model(arguments, part):
    assert part in problem(built_host(None, {**SMALL, **arguments}))


@pytest.mark.parametrize("switch", ["dynamic_img_size", "dynamic_img_pad"])
def test_a_size_that_may_change_can_be_fixed(switch):
    """Some of timm's plain ViTs turn it on by themselves."""
    with pytest.raises(RecipeError) as caught:
        check_plain(built_host(None, {**SMALL, switch: True}), "host", Place("x.py", "model.name"))
    expected = (
        f"x.py: model.name = 'host' | {switch} is on, and the graph's size is fixed | add {switch}=False to model"
    )
    assert message_of(caught.value).startswith(expected)


def test_other_parts_are_named():
    from timm.layers import GatedMlp
    from timm.models.vision_transformer import ParallelScalingBlock

    parallel = built_host(None, {**SMALL, "block_fn": ParallelScalingBlock})
    assert "blocks.0 is a ParallelScalingBlock: attention and MLP act on the same tokens" in problem(parallel)
    gated = built_host(None, {**SMALL, "mlp_layer": GatedMlp})
    assert "blocks.0.mlp is a GatedMlp, not an Mlp, GluMlp or SwiGLU" in problem(gated)


def test_gated_mlps_norms_behind_branches_and_branches_side_by_side_are_plain():
    from timm.layers import SwiGLUPacked
    from timm.models.vision_transformer import ParallelThingsBlock, ResPostBlock

    for changes in ({"mlp_layer": SwiGLUPacked}, {"block_fn": ResPostBlock}, {"block_fn": ParallelThingsBlock}):
        check_plain(built_host(None, {**SMALL, **changes}), "host", Place("x.py"))


def test_a_single_changed_block_is_found():
    from torch import nn

    host = built_host(None, SMALL)
    host.blocks[1].attn.gate = nn.Linear(8, 8, device="meta")
    assert "blocks.1.attn is gated" in problem(host)
    host = built_host(None, SMALL)
    host.blocks[1].attn = nn.MultiheadAttention(8, 2, device="meta")
    assert "blocks.1.attn is a MultiheadAttention, not an Attention" in problem(host)


def test_a_subclass_is_another_model():
    from timm.models.vision_transformer import VisionTransformer

    class Own(VisionTransformer):
        pass

    assert "its class is Own, not timm's VisionTransformer, VisionTransformerDistilled or Eva" in problem(Own(**SMALL))
