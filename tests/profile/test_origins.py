"""Where a runtime's nodes come from, though it fused, renamed and inserted some."""

from __future__ import annotations

from work_cases import NODES, WORK

from edgeexport.backends.executed_graph import GraphNode
from edgeexport.profile.origins import Origin, origins_from_engine_layers, origins_from_graph
from edgeexport.profile.traces import EngineLayer


def _executed(name: str, op_type: str, inputs: str, outputs: str) -> GraphNode:
    return GraphNode(name, op_type, tuple(inputs.split()), tuple(outputs.split()))


def _names(origin: Origin) -> set[str]:
    return {node.name for node in origin.nodes}


def test_unfused_graph_is_itself() -> None:
    executed = [GraphNode(node.name, node.op_type, node.inputs, node.outputs) for node in NODES]
    found = origins_from_graph(executed, WORK)
    assert [_names(origin) for origin in found] == [{node.call or node.name} for node in NODES]
    assert {origin.how for origin in found} == {"graph"}


def test_fused_nodes_cover_what_lies_between_their_values() -> None:
    executed = [
        _executed("Fused_0", "FusedMatMul", "image", "x0"),
        _executed("norm1", "LayerNormalization", "x0", "n1"),
        _executed("mm1/MatMulAddFusion", "Gemm", "gemm_in", "gemm_out"),
        _executed("gemm_output_reshape", "Reshape", "gemm_out", "b1"),
        _executed("BiasGelu_1", "BiasGelu", "b1", "g1"),
        _executed("SkipLayerNormalization_7", "SkipLayerNormalization", "x0 g1", "r1"),
    ]
    found = origins_from_graph(executed, WORK)
    assert _names(found[0]) == {"patches", "positions"}
    assert _names(found[2]) == {"mm1"}  # by its name, for no value of it is the graph's
    assert _names(found[3]) == {"bias1"}
    assert _names(found[4]) == {"act1"} and _names(found[5]) == {"res1"}


def test_inserted_nodes_belong_where_they_are_read() -> None:
    executed = [
        _executed("norm1", "LayerNormalization", "x0", "n1"),
        _executed("gemm_input_reshape", "Reshape", "n1", "flat"),
        _executed("mm1", "Gemm", "flat", "m1"),
        _executed("ReorderOutput", "ReorderOutput", "m1", "unread"),
    ]
    found = origins_from_graph(executed, WORK)
    assert [origin.parts for origin in found] == [("block_1",)] * 4
    assert found[1].how == "graph" and not found[1].nodes


def test_a_body_belongs_to_its_call() -> None:
    """The runtime inlined the function itself: only what leaves it has a known name."""
    executed = [
        _executed("top", "TopK", "r1", "values index"),
        _executed("Cast_8", "Cast", "index", "_inlfunc_wide"),
        _executed("GatherND_9", "GatherND", "r1 _inlfunc_wide", "kept"),
        _executed("norm2", "LayerNormalization", "kept", "n2"),
    ]
    found = origins_from_graph(executed, WORK)
    assert [origin.parts for origin in found] == [("prune_1",)] * 3 + [("block_2",)]
    assert _names(found[2]) == {"rows"}  # the call itself: its body's values have other names everywhere


def test_a_fusion_across_parts_names_both() -> None:
    (found,) = origins_from_graph([_executed("f", "SkipLayerNormalization", "kept m2", "class_map")], WORK)
    assert set(found.parts) == {"block_2", "tail"} and _names(found) == {"res2", "map"}


def test_a_blocked_layout_names_nodes_after_values() -> None:
    executed = [
        _executed("ReorderInput", "ReorderInput", "n1", "reorder"),
        _executed("m1_nchwc", "Conv", "reorder", "reorder_1"),
        _executed("b1_nchwc", "Conv", "reorder_1", "reorder_2"),
        _executed("ReorderOutput", "ReorderOutput", "reorder_2", "g1"),
    ]
    found = origins_from_graph(executed, WORK)
    assert [_names(origin) for origin in found] == [set(), {"mm1"}, {"bias1"}, {"act1"}]
    assert found[0].parts == ("block_1",)


def test_a_profile_alone_goes_by_names_and_neighbours() -> None:
    names = ["patches", "norm1", "gemm_input_reshape", "mm1/MatMulAddFusion", "Cast_8", "norm2", "odd", "map", "last"]
    found = origins_from_graph([GraphNode(name, "") for name in names], WORK)
    assert [origin.how for origin in found] == [
        "name",
        "name",
        "neighbours",
        "name",
        "none",
        "name",
        "none",
        "name",
        "neighbours",
    ]
    assert found[2].parts == ("block_1",) and found[8].parts == ("tail",) and found[4].parts == ()
    assert _names(found[3]) == {"mm1"}


def _layers(*pairs: tuple[str, str]) -> list[EngineLayer]:
    return [EngineLayer(name, "", tuple(nodes.split())) for name, nodes in pairs]


def test_engine_layers_list_their_nodes() -> None:
    layers = _layers(("__myl_Fc_0", "norm1 mm1 bias1"), ("rows", "rows"), ("fused", "res2 map"))
    found = origins_from_engine_layers(layers, WORK, plugins=True)
    assert _names(found[0]) == {"norm1", "mm1", "bias1"} and found[0].parts == ("block_1",)
    assert _names(found[1]) == {"rows"}
    assert found[2].parts == ("block_2", "tail")


def test_what_replaces_a_node_is_named_after_it() -> None:
    """In model.trt.onnx, which has other forms of some nodes than the graph that is counted."""
    found = origins_from_engine_layers(
        _layers(("x", "bias1/MatMul"), ("y", "nobody/knows"), ("z", "map/a/b")), WORK, plugins=True
    )
    assert _names(found[0]) == {"bias1"}
    assert not found[1].nodes
    assert _names(found[2]) == {"map"}


def test_engine_without_plugins_has_bodies() -> None:
    (found,) = origins_from_engine_layers(_layers(("x", "rows")), WORK, plugins=False)
    assert _names(found) == {"TokenUnmerge/wide", "TokenUnmerge/rows"} and found.parts == ("prune_1",)


def test_engine_layers_by_name() -> None:
    layers = _layers(
        ("patches + positions", ""),
        ("Reformatting CopyNode for Input Tensor 0 to norm1", ""),
        ("{ForeignNode[mm1...res1]}", ""),
        ("__myl_Move_myl0_3", ""),
        ("top", ""),
        ("rows", ""),
        ("{ForeignNode[norm2 + gone]}", ""),
    )
    found = origins_from_engine_layers(layers, WORK, plugins=True)
    assert _names(found[0]) == {"patches", "positions"}
    assert _names(found[1]) == {"norm1"}
    assert _names(found[2]) == {"mm1", "bias1", "act1", "res1"}
    assert found[3] == Origin("none")
    assert _names(found[5]) == {"rows"}
    assert _names(found[6]) == {"norm2"}
    assert [origin.how for origin in found[:3]] == ["name"] * 3


def _region(name: str, *, before: str = "", after: str = "") -> set[str]:
    """Nodes of a layer of that name, between two others that are nodes of the graph."""
    layers = _layers(*((layer, "") for layer in (before, name, after) if layer))
    found = origins_from_engine_layers(layers, WORK, plugins=True)[1 if before else 0]
    assert found.how == ("name" if found.nodes else "none")
    return _names(found)


ALL = {node.call or node.name for node in NODES}


def test_a_regions_ends_may_be_fusions_themselves() -> None:
    assert _region("{ForeignNode[mm1 + bias1...act1 + res1]}") == {"mm1", "bias1", "act1", "res1"}
    assert _region("{ForeignNode[gone + bias1...PWN(PWN(act1), res1)]}") == {"bias1", "act1", "res1"}
    assert _region("PWN(PWN(bias1), act1 + res1)") == {"bias1", "act1", "res1"}
    assert _region("{ForeignNode[mm1 + bias1]}") == {"mm1", "bias1"}  # as on a deep-learning accelerator


def test_a_regions_end_without_a_name_lies_where_its_neighbour_leaves_off() -> None:
    unnamed = "(Unnamed Layer* 3) [Shuffle]"
    from_start = f"{{ForeignNode[{unnamed}...act1]}}"
    assert _region(from_start) == {"patches", "positions", "norm1", "mm1", "bias1", "act1"}
    assert _region(from_start, before="norm1") == {"mm1", "bias1", "act1"}
    to_end = f"{{ForeignNode[norm2...{unnamed}]}}"
    assert _region(to_end) == {"norm2", "mm2", "res2", "map"}
    assert _region(to_end, after="map") == {"norm2", "mm2", "res2"}
    neither = f"{{ForeignNode[{unnamed}...(Unnamed Layer* 9) [Shuffle]]}}"
    assert _region(neither) == ALL
    assert _region(neither, before="res1", after="norm2") == {"top", "rows"}
    assert _region(neither, before="res2", after="map") == set()
    assert _region(from_start, before="map") == {"act1"}  # out of order: what is known


def test_copies_for_a_region_are_its_ends() -> None:
    region = "{ForeignNode[mm1...act1 + res1]}"
    assert _region(f"Reformatting CopyNode for Input Tensor 0 to {region}") == {"mm1"}
    assert _region(f"Reformatting CopyNode for Output Tensor 0 to {region}") == {"act1", "res1"}
    unnamed = "{ForeignNode[(Unnamed Layer* 3) [Shuffle]...res1]}"
    assert _region(f"Reformatting CopyNode for Input Tensor 0 to {unnamed}") == set()
