"""TokenMerge's CPU reference and its kernel's block, run on the CPU, against the op's torch reference and ONNX function."""

from __future__ import annotations

import ctypes

import pytest
import torch
from arrays import BAD_INDEX, BAD_SIZE, BAD_TYPE, ELEMENT_TYPES, NULL_POINTER, address, call
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, exact_metrics, layouts, merge_attributes
from onnx import TensorProto
from op_models import one_node_model, run_model
from torch import Tensor

from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_match import token_match_reference
from edgeexport.ops.token_merge import onnx_function, position_map, token_merge_reference
from edgeexport.ops.token_unmerge import token_unmerge_reference

_TILE = 1024  # kMergeTile
Edges = tuple[Tensor, Tensor, Tensor]
Block = tuple[int, int, bool]  # lanes, threads, backward

blocks = st.tuples(st.booleans(), st.sampled_from([1, 3, 32, 256]), st.booleans())


def merged(
    library: ctypes.CDLL,
    x: Tensor,
    size: Tensor,
    edges: Edges,
    attributes: dict[str, int | list[int]],
    block: Block | None = None,
) -> tuple[Tensor, Tensor]:
    """By the reference, or by the kernel's block; what is not written shows as -7."""
    batch, tokens, width = x.shape
    source, target, kept = (edge.contiguous() for edge in edges)
    destinations = torch.tensor(attributes["destinations"], dtype=torch.int32)
    prefix = attributes["prefix"]
    assert isinstance(prefix, int)
    rows = prefix + kept.shape[1] + len(destinations)
    values, sizes = torch.full((batch, rows, width), -7, dtype=x.dtype), torch.full((batch, rows, 1), -7.0)
    tensors = [address(t) for t in (x, size, source, target, kept, destinations, values, sizes)]
    numbers = [batch, tokens, width, source.shape[1], kept.shape[1], prefix, len(destinations), ELEMENT_TYPES[x.dtype]]
    if block is None:
        assert call(library, "edgeexport_cpu_token_merge", *tensors, *numbers) == 0
    else:
        assert call(library, "edgeexport_cpu_token_merge_block", *tensors, *numbers, *map(int, block)) == 0
    return values, sizes


def any_edges(tables: MatchTables, batch: int, seed: int) -> Edges:
    """Any choice that the tables allow: r of each window's sources, each into any destination of its window."""
    generator = torch.Generator().manual_seed(seed)
    na, nb = (len(table) // tables.windows for table in (tables.sources, tables.destinations))
    source, target, kept = [], [], []
    for _ in range(batch):
        joins, into, stays = [], [], []
        for w, r in enumerate(tables.r_per_window):
            members = [t for t in tables.sources[w * na : (w + 1) * na] if t >= 0]
            order = [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]
            choices = [t for t in tables.destinations[w * nb : (w + 1) * nb] if t >= 0]
            joins += order[:r]
            into += [choices[i] for i in torch.randint(max(len(choices), 1), (r,), generator=generator).tolist()]
            stays += order[r:]
        source.append(joins)
        target.append(into)
        kept.append(stays)
    source_, target_, kept_ = (
        torch.tensor(part, dtype=torch.int32).reshape(batch, -1) for part in (source, target, kept)
    )
    return source_, target_, kept_


def values_and_sizes(batch: int, tokens: int, width: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, width, generator=generator).to(dtype)
    return x, torch.randint(1, 9, (batch, tokens, 1), generator=generator).float()


def expected(x: Tensor, size: Tensor, edges: Edges, tables: MatchTables) -> tuple[Tensor, Tensor]:
    """The op's reference in float32, rounded once."""
    values, sizes = token_merge_reference(x.float(), size, *edges, tables)
    return values.to(x.dtype), sizes


def assert_same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(found[1], wanted[1])
    close = 1e-5 if found[0].dtype == torch.float32 else 2**-10  # one rounding of FP16 to either side
    torch.testing.assert_close(found[0], wanted[0], atol=close, rtol=close)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Edges, MatchTables]:
    layout, batch = draw(layouts()), draw(st.integers(1, 3))
    tables = tables_from_layout(layout)
    width = draw(st.integers(1, 9) | st.sampled_from([8, 16, 40]))
    seed, dtype = draw(st.integers(0, 2**16)), draw(st.sampled_from([torch.float32, torch.float16]))
    x, size = values_and_sizes(batch, layout.tokens, width, seed, dtype)
    return x, size, any_edges(tables, batch, seed), tables


def lanes_of(x: Tensor, vector: bool) -> int:
    """The elements per thread that the launcher would take, or one."""
    wide = 16 // x.element_size()
    return wide if vector and x.shape[2] % wide == 0 else 1


@settings(deadline=None, max_examples=100)
@given(case=cases(), block=blocks)
def test_equals_the_torch_reference(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor, Edges, MatchTables], block: tuple[bool, int, bool]
) -> None:
    x, size, edges, tables = case
    found = merged(cpu_library, x, size, edges, merge_attributes(tables))
    assert_same(found, expected(x, size, edges, tables))
    vector, threads, backward = block
    in_block = merged(cpu_library, x, size, edges, merge_attributes(tables), (lanes_of(x, vector), threads, backward))
    # The same sums in the same order, and the compiler is told to fuse nothing, so the bits are the same.
    assert torch.equal(in_block[1], found[1])
    assert torch.equal(in_block[0], found[0])


@settings(deadline=None, max_examples=100)
@given(case=cases(), block=blocks)
def test_invariants(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor, Edges, MatchTables], block: tuple[bool, int, bool]
) -> None:
    """Sizes sum to the sizes before; rows into which nothing merges are copies; every token maps to its group's row."""
    x, size, edges, tables = case
    vector, threads, backward = block
    values, sizes = merged(
        cpu_library, x, size, edges, merge_attributes(tables), (lanes_of(x, vector), threads, backward)
    )
    assert torch.equal(sizes.sum(dim=1), size.sum(dim=1))
    source, target, _ = edges
    restored = token_unmerge_reference(values, position_map(*edges, tables))
    for image in range(x.shape[0]):
        groups = {token: [token] for token in range(tables.tokens)}
        for token, into in zip(source[image].tolist(), target[image].tolist(), strict=True):
            groups[into].append(token)
            del groups[token]
        for first, group in groups.items():
            assert torch.equal(restored[image, group], restored[image, first].expand(len(group), -1))
            if len(group) == 1:
                assert torch.equal(restored[image, first], x[image, first])


def function_model_outputs(
    x: Tensor, size: Tensor, edges: Edges, attributes: dict[str, int | list[int]]
) -> list[Tensor]:
    inputs = dict(zip(("x", "size", "source", "target", "kept"), (x, size, *edges), strict=True))
    destinations, prefix = attributes["destinations"], attributes["prefix"]
    assert isinstance(destinations, list) and isinstance(prefix, int)
    rows = prefix + edges[2].shape[1] + len(destinations)
    outputs = {
        "merged": (TensorProto.FLOAT, (x.shape[0], rows, x.shape[2])),
        "merged_size": (TensorProto.FLOAT, (x.shape[0], rows, 1)),
    }
    return run_model(one_node_model(onnx_function(), inputs, outputs, attributes), inputs)


@settings(deadline=None, max_examples=25)
@given(layout=layouts(), batch=st.integers(1, 3), data=st.data())
def test_equals_the_onnx_function(
    cpu_library: ctypes.CDLL, layout: MatchLayout, batch: int, data: st.DataObject
) -> None:
    """With edges that a matching makes, ties among them."""
    tables = tables_from_layout(layout)
    x, size = values_and_sizes(batch, layout.tokens, 8, 5, torch.float32)
    edges = token_match_reference(data.draw(exact_metrics(batch, layout.tokens)), tables)
    model = function_model_outputs(x, size, edges, merge_attributes(tables))
    found = merged(cpu_library, x, size, edges, merge_attributes(tables))
    assert_same(found, (model[0], model[1]))


@pytest.mark.parametrize("layout", [layout for layout in SIX_LAYOUTS if tables_from_layout(layout).K == 0], ids=str)
@pytest.mark.parametrize("block", [None, (1, 32, False), (4, 64, True)], ids=str)
def test_stand_in_where_no_source_stays(cpu_library: ctypes.CDLL, layout: MatchLayout, block: Block | None) -> None:
    """As `token_merge` writes the node: the last prefix token, or a row too many, takes the place of ``kept``."""
    tables = tables_from_layout(layout)
    x, size = values_and_sizes(2, layout.tokens, 8, 6, torch.float32)
    source, target, kept = any_edges(tables, 2, 6)
    wanted = expected(x, size, (source, target, kept), tables)
    attributes = merge_attributes(tables)
    if tables.prefix:
        attributes["prefix"] = tables.prefix - 1
        stand_in = torch.full((2, 1), tables.prefix - 1, dtype=torch.int32)
    else:
        stand_in = source[:, :1]
    values, sizes = merged(cpu_library, x, size, (source, target, stand_in), attributes, block)
    surplus = 0 if tables.prefix else 1
    assert_same((values[:, surplus:], sizes[:, surplus:]), wanted)
    model = function_model_outputs(x, size, (source, target, stand_in), attributes)
    assert_same((values, sizes), (model[0], model[1]))


@pytest.mark.parametrize("sources", [_TILE, _TILE + 1, 2 * _TILE + 77])
@pytest.mark.parametrize("spread", [1, 40], ids=["into one", "into forty"])
@pytest.mark.parametrize("backward", [False, True])
def test_more_sources_than_a_tile(cpu_library: ctypes.CDLL, sources: int, spread: int, backward: bool) -> None:
    """One token each way: destinations are the last tokens, nothing stays."""
    generator = torch.Generator().manual_seed(sources)
    destinations = list(range(sources, sources + spread + 1))  # one of them gets nothing
    x, size = values_and_sizes(1, sources + spread + 1, 4, 8, torch.float32)
    source = torch.randperm(sources, generator=generator)[None].to(torch.int32)
    target = (sources + torch.randint(spread, (1, sources), generator=generator)).to(torch.int32)
    edges = source, target, torch.zeros(1, 0, dtype=torch.int32)
    attributes: dict[str, int | list[int]] = {"prefix": 0, "destinations": destinations}
    plain = merged(cpu_library, x, size, edges, attributes)
    in_block = merged(cpu_library, x, size, edges, attributes, (4, 32, backward))
    assert torch.equal(in_block[0], plain[0]) and torch.equal(in_block[1], plain[1])
    weight = size[0].double()
    for row, destination in enumerate(destinations):
        group = [destination, *source[0][target[0] == destination].tolist()]
        mean = (x[0, group].double() * weight[group]).sum(dim=0) / weight[group].sum()
        torch.testing.assert_close(plain[0][0, row].double(), mean, atol=1e-5, rtol=1e-5)
        assert plain[1][0, row].item() == weight[group].sum().item()
    assert torch.equal(plain[0][0, -1], x[0, -1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_copies_keep_their_bits(cpu_library: ctypes.CDLL, dtype: torch.dtype) -> None:
    """Negative zero, infinity and NaN in rows into which nothing merges; infinity and overflow in one that grows."""
    special = torch.tensor([-0.0, torch.inf, torch.nan, 6e-8])
    x = torch.stack([special, special, torch.tensor([1.0, -torch.inf, 65504.0, 0.0]), special, special]).to(dtype)[None]
    size = torch.ones(1, 5, 1)
    edges = tuple(torch.tensor([row], dtype=torch.int32) for row in ([4], [2], [1]))
    for block in (None, (1, 32, False)):
        values, _ = merged(cpu_library, x, size, edges, {"prefix": 1, "destinations": [2, 3]}, block)  # type: ignore[arg-type]
        bits = torch.int32 if dtype == torch.float32 else torch.int16
        for row, token in ((0, 0), (1, 1), (3, 3)):
            assert torch.equal(values.view(bits)[0, row], x.view(bits)[0, token])
        assert values[0, 2, :2].isnan().tolist() == [False, True]  # (1 - 0) / 2, and infinity less infinity
        assert values[0, 2, 0].item() == 0.5


def test_sums_run_in_the_order_of_the_sources(cpu_library: ctypes.CDLL) -> None:
    """float32 sums that depend on the order: sizes 1 added to 2^24 one by one are lost, first to each other are not."""
    size = torch.tensor([2.0**24, 1.0, 1.0, 1.0, 1.0]).reshape(1, 5, 1)
    x, kept = torch.ones(1, 5, 1), torch.zeros(1, 0, dtype=torch.int32)
    for order, total in (([0, 1, 2, 3], 2.0**24), ([1, 2, 3, 0], 2.0**24 + 4)):
        edges = torch.tensor([order], dtype=torch.int32), torch.full((1, 4), 4, dtype=torch.int32), kept
        for block in (None, (1, 1, False), (1, 256, True)):
            _, sizes = merged(cpu_library, x, size, edges, {"prefix": 0, "destinations": [4]}, block)
            assert sizes.item() == total


def test_rounding_to_half_is_torchs(cpu_library: ctypes.CDLL) -> None:
    """The mean of two halves, size 1 each, for every exponent: the exact half-way cases, subnormals and overflow."""
    bits = torch.arange(0, 0x7C00, 3, dtype=torch.int32).to(torch.int16).view(torch.float16)
    for step in (1, 2, 5):
        other = (torch.arange(0, 0x7C00, 3, dtype=torch.int32) + step).clamp(max=0x7BFF).to(torch.int16)
        x = torch.stack([bits, other.view(torch.float16)])[None].contiguous()
        edges = tuple(torch.tensor([row], dtype=torch.int32).reshape(1, -1) for row in ([1], [0], []))
        values, _ = merged(cpu_library, x, torch.ones(1, 2, 1), edges, {"prefix": 0, "destinations": [0]})  # type: ignore[arg-type]
        wide = x.float()
        assert torch.equal(values[0, 0], (wide[0, 0] * 0.5 + wide[0, 1] * 0.5).half())


def simple_call(library: ctypes.CDLL, entry: str, **changed: object) -> tuple[int, Tensor]:
    """Three tokens, one of which merges, with some arguments changed; also returns the values written."""
    named: dict[str, object] = {
        "x": torch.arange(12.0).reshape(1, 3, 4),
        "size": torch.ones(1, 3, 1),
        "source": torch.tensor([[2]], dtype=torch.int32),
        "target": torch.tensor([[1]], dtype=torch.int32),
        "kept": torch.tensor([[0]], dtype=torch.int32),
        "destinations": torch.tensor([1], dtype=torch.int32),
        "merged": torch.full((1, 2, 4), -7.0),
        "merged_size": torch.full((1, 2, 1), -7.0),
        **dict(batch=1, tokens=3, width=4, sources=1, stay=1, prefix=0, count=1, type=0),
    }
    if entry.endswith("_block"):
        named |= dict(lanes=4, threads=32, backward=0)
    named |= changed
    values = named["merged"]
    arguments = [address(value) if isinstance(value, Tensor) else value for value in named.values()]
    status = call(library, entry, *arguments)  # type: ignore[arg-type]
    return status, values if isinstance(values, Tensor) else torch.empty(0)


ENTRIES = ("edgeexport_cpu_token_merge", "edgeexport_cpu_token_merge_block")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 0),
        ({"type": 3}, BAD_TYPE),
        ({"type": 8}, BAD_TYPE),
        ({"batch": -1}, BAD_SIZE),
        ({"tokens": 0}, BAD_SIZE),
        ({"width": 0}, BAD_SIZE),
        ({"sources": -1}, BAD_SIZE),
        ({"stay": -1}, BAD_SIZE),
        ({"prefix": 4}, BAD_SIZE),
        ({"prefix": -1}, BAD_SIZE),
        ({"count": -1}, BAD_SIZE),
        *(({name: None}, NULL_POINTER) for name in ("x", "size", "source", "target", "kept", "destinations", "merged")),
        ({"merged_size": None}, NULL_POINTER),
        ({"destinations": torch.tensor([3], dtype=torch.int32)}, BAD_INDEX),
        ({"destinations": torch.tensor([-1], dtype=torch.int32)}, BAD_INDEX),
    ],
)
def test_impossible_arguments_are_refused(
    cpu_library: ctypes.CDLL, entry: str, changed: dict[str, object], status: int
) -> None:
    found, values = simple_call(cpu_library, entry, **changed)
    assert found == status
    if status == 0:
        assert values[0].tolist() == [[0.0, 1.0, 2.0, 3.0], [6.0, 7.0, 8.0, 9.0]]
    elif values.numel():
        assert (values == -7).all()


@pytest.mark.parametrize("lanes", [{"lanes": 3}, {"lanes": 8}, {"threads": 0}, {"threads": 257}], ids=str)
def test_impossible_blocks_are_refused(cpu_library: ctypes.CDLL, lanes: dict[str, object]) -> None:
    assert simple_call(cpu_library, ENTRIES[1], **lanes)[0] == BAD_SIZE


@pytest.mark.parametrize("wrong", [-1, 3, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", ["source", "target", "kept"])
def test_indices_outside(cpu_library: ctypes.CDLL, name: str, wrong: int) -> None:
    """The reference refuses them; the kernel, which TensorRT times on arbitrary memory, stays inside and goes on."""
    index = torch.tensor([[wrong]], dtype=torch.int32)
    status, values = simple_call(cpu_library, ENTRIES[0], **{name: index})
    assert status == BAD_INDEX
    assert (values == -7).all()
    status, values = simple_call(cpu_library, ENTRIES[1], **{name: index})
    assert status == 0
    first, second = values[0].tolist()
    assert first == ([0.0] * 4 if name == "kept" else [0.0, 1.0, 2.0, 3.0])
    assert second == ([6.0, 7.0, 8.0, 9.0] if name == "kept" else [4.0, 5.0, 6.0, 7.0])
