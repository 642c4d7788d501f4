"""TokenMatchMerge on the CPU: by the references of its two ops, and by the kernels' own blocks, against torch."""

from __future__ import annotations

import ctypes

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from match_cases import SIX_LAYOUTS, exact_metrics, layouts, match_attributes
from test_cpu_token_match import Match
from torch import Tensor

from edgeexport.ops.match_tables import MatchLayout, MatchTables, tables_from_layout
from edgeexport.ops.token_match_merge import LARGEST_SOURCES, LARGEST_TOKENS, token_match_merge_reference

NULL_POINTER, BAD_SIZE, BAD_TYPE, BAD_INDEX, BAD_ATTRIBUTE = 1, 2, 3, 4, 5  # common/status.h
LISTS = ("sources", "destinations", "taken", "left")
OUTPUTS = ("merged", "merged_size", "log_size", "source", "target", "kept")
Form = tuple[bool, int, bool] | None
"""None: the definition. Else 16 bytes to a piece (or one element), blocks that share the rows, threads backward."""
FORMS: tuple[Form, ...] = (None, (True, 1, False), (True, 2, True), (False, 3, True))


class Call(ctypes.Structure):
    """EdgeexportTokenMatchMerge of token_match_merge_cpu.h."""

    _fields_ = (
        ("match", Match),
        ("x", ctypes.c_void_p),
        ("size", ctypes.c_void_p),
        ("heads", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("prefix", ctypes.c_int32),
        ("merged", ctypes.c_void_p),
        ("merged_size", ctypes.c_void_p),
        ("log_size", ctypes.c_void_p),
    )


class Prepared:
    """A call, and what must stay alive while it is used."""

    def __init__(self, metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables) -> None:
        batch, tokens, width = x.shape
        self.inputs = [tensor.contiguous() for tensor in (metric, x, size)]
        rows = tables.prefix + max(tables.K, 1) + len(tables.destination_tokens)
        self.held = {
            "merged": torch.full((batch, rows, width), -7, dtype=x.dtype),
            "merged_size": torch.full((batch, rows, 1), -7.0),
            "log_size": torch.full((batch, 1, 1, rows), -7, dtype=metric.dtype),
            "source": torch.full((batch, tables.R), -7, dtype=torch.int32),
            "target": torch.full((batch, tables.R), -7, dtype=torch.int32),
            "kept": torch.full((batch, max(tables.K, 1)), -7, dtype=torch.int32),
        }
        kind = {torch.float32: 0, torch.float16: 1}[metric.dtype]
        attributes = match_attributes(tables)
        self.call = Call(width=width, prefix=tables.prefix, heads=metric.shape[1] if metric.ndim == 4 else 1)
        match = self.call.match
        match.type, match.batch, match.tokens, match.channels = kind, batch, tokens, metric.shape[-1]
        match.windows, match.ascending = attributes["windows"], attributes["ascending"]
        self.lists = {}
        for name in LISTS:
            self.set_list(name, attributes[name])
        match.metric, self.call.x, self.call.size = (tensor.data_ptr() for tensor in self.inputs)
        for name, tensor in self.held.items():
            setattr(self.call if name.startswith(("merged", "log")) else match, name, tensor.data_ptr())

    def set_list(self, name: str, values: object) -> None:
        assert isinstance(values, list)
        self.lists[name] = (ctypes.c_int32 * len(values))(*values)
        setattr(self.call.match, name, ctypes.cast(self.lists[name], ctypes.POINTER(ctypes.c_int32)))
        setattr(self.call.match, f"{name}_length", len(values))

    def run(self, library: ctypes.CDLL, form: Form) -> int:
        if form is None:
            return int(library.edgeexport_cpu_token_match_merge(ctypes.byref(self.call)))
        wide, parts, backward = form
        lanes = 16 // self.inputs[1].element_size() if wide else 1
        return int(
            library.edgeexport_cpu_token_match_merge_kernel(ctypes.byref(self.call), lanes, parts, int(backward))
        )


def run(library: ctypes.CDLL, form: Form, metric: Tensor, x: Tensor, size: Tensor, tables: MatchTables) -> list[Tensor]:
    if form is not None and form[0] and x.shape[2] * x.element_size() % 16:
        form = (False, *form[1:])
    prepared = Prepared(metric, x, size, tables)
    assert prepared.run(library, form) == 0
    return [prepared.held[name] for name in OUTPUTS]


def assert_same(found: list[Tensor], expected: tuple[Tensor, ...]) -> None:
    """Decisions and sizes are equal, means but for the order of sums; what nothing merges into is copied bit by bit."""
    assert [part.tolist() for part in found[3:]] == [part.tolist() for part in expected[3:]]
    assert torch.equal(found[1], expected[1])
    assert torch.allclose(found[0], expected[0], atol=2e-5, rtol=2e-5)
    exact = found[2].dtype == torch.float32
    assert torch.allclose(found[2].float(), expected[2].float(), atol=0, rtol=1e-6 if exact else 1e-3)


def tensors_of(layout: MatchLayout, batch: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, layout.tokens, width, generator=generator).half().float()
    return x, torch.randint(1, 9, (batch, layout.tokens, 1), generator=generator).float()


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, MatchTables]:
    layout = draw(layouts().filter(lambda layout: tables_from_layout(layout).K > 0))
    batch = draw(st.integers(1, 3))
    x, size = tensors_of(layout, batch, draw(st.integers(1, 9) | st.just(16)), draw(st.integers(0, 2**16)))
    return draw(exact_metrics(batch, layout.tokens)), x, size, tables_from_layout(layout)


@settings(deadline=None, max_examples=40)
@given(cases(), st.sampled_from(FORMS))
def test_equals_the_reference(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor, Tensor, MatchTables], form: Form
) -> None:
    metric, x, size, tables = case
    expected = token_match_merge_reference(*case)
    assert_same(run(cpu_library, form, metric, x, size, tables), expected)
    assert_same(run(cpu_library, form, metric.half(), x, size, tables), expected)


@settings(deadline=None, max_examples=25)
@given(cases(), st.integers(2, 5), st.sampled_from(FORMS))
def test_the_mean_of_heads_decides(
    cpu_library: ctypes.CDLL, case: tuple[Tensor, Tensor, Tensor, MatchTables], heads: int, form: Form
) -> None:
    """Heads that differ by whole numbers, whose mean is the metric; by one head alone other tokens would merge."""
    metric, x, size, tables = case
    away = 2 * torch.arange(heads).float() - (heads - 1)
    by_head = metric[:, None] + away[:, None, None]
    mean = by_head.mean(dim=1)
    assert torch.allclose(mean, metric, atol=1e-5)
    found = run(cpu_library, form, by_head, x, size, tables)
    alone = run(cpu_library, form, mean, x, size, tables)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, alone, strict=True))
    assert_same(
        run(cpu_library, form, by_head.half(), x, size, tables), token_match_merge_reference(mean, x, size, tables)
    )


@pytest.mark.parametrize("form", FORMS[:3], ids=str)
@pytest.mark.parametrize("levels", [1, 5])
@pytest.mark.parametrize(
    "layout",
    [
        MatchLayout("alternate", 197, 1, 13),  # DeiT
        MatchLayout("alternate", 1025, 1, 312),  # dense, several tiles and splits
        MatchLayout("windows", 197, 1, 16, columns=14, window=7),  # DSM
        MatchLayout("cells", 1024, 0, 512, columns=32),  # Stable Diffusion
    ],
    ids=str,
)
def test_real_sizes_with_ties(cpu_library: ctypes.CDLL, layout: MatchLayout, levels: int, form: Form) -> None:
    """Unit vectors along few axes: cosines are 0 or 1, so that every tie has to be broken the same way."""
    tables = tables_from_layout(layout)
    axes = torch.randint(levels, (2, layout.tokens), generator=torch.Generator().manual_seed(levels))
    metric = torch.nn.functional.one_hot(axes, 40).float() * 0.5
    x, size = tensors_of(layout, 2, 8, levels)
    assert_same(run(cpu_library, form, metric, x, size, tables), token_match_merge_reference(metric, x, size, tables))


@pytest.mark.parametrize("form", FORMS[1:2], ids=str)
def test_largest_table_of_sources(cpu_library: ctypes.CDLL, form: Form) -> None:
    """Every thread has as many slots as it can hold; all merge into few, in the order of their scores."""
    layout = MatchLayout("alternate", 2 * LARGEST_SOURCES, 0, LARGEST_SOURCES - 1)
    tables = tables_from_layout(layout)
    axes = torch.arange(layout.tokens) % 6  # even tokens meet even axes, odd ones odd: half of the cosines are 0
    metric = torch.nn.functional.one_hot(torch.where(axes == 5, 4, axes), 6).float()[None]
    x, size = tensors_of(layout, 1, 4, 7)
    assert_same(run(cpu_library, form, metric, x, size, tables), token_match_merge_reference(metric, x, size, tables))


@settings(deadline=None, max_examples=25)
@given(layouts(), st.integers(1, 40), st.integers(0, 2**16))
def test_blocks_agree_bit_by_bit_and_merge_what_they_decided(
    cpu_library: ctypes.CDLL, layout: MatchLayout, channels: int, seed: int
) -> None:
    """On any metric: threads in either order, rows shared by any number of blocks; no source that stays among them."""
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, channels, generator=torch.Generator().manual_seed(seed))
    x, size = tensors_of(layout, 2, 8, seed)
    first, *others = (run(cpu_library, form, metric, x, size, tables) for form in FORMS[1:])
    for other in others:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, other, strict=True))
    if tables.K:  # else a stand-in stays beside them
        assert torch.allclose((first[0] * first[1]).sum(dim=1), (x * size).sum(dim=1), atol=1e-2)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("layout", SIX_LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_whatever_the_metric_holds_indices_stay_in_range(
    cpu_library: ctypes.CDLL, layout: MatchLayout, value: float, form: Form
) -> None:
    """TensorRT times plugins on memory with arbitrary content."""
    tables = tables_from_layout(layout)
    metric = torch.randn(2, layout.tokens, 8, generator=torch.Generator().manual_seed(3))
    metric[0], metric[1, ::3] = value, value
    x, size = tensors_of(layout, 2, 4, 1)
    _, _, _, source, target, kept = run(cpu_library, form, metric, x, size, tables)
    real = sorted(token for token in tables.sources if token >= 0)
    for image in range(2):
        staying = kept[image].tolist() if tables.K else []
        assert sorted([*source[image].tolist(), *staying]) == real
    assert set(target.flatten().tolist()) <= set(tables.destination_tokens)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_images_of_a_batch_choose_for_themselves(cpu_library: ctypes.CDLL, form: Form) -> None:
    layout = MatchLayout("windows", 1 + 45, 1, 13, columns=7, window=3)
    tables = tables_from_layout(layout)
    metric = torch.randn(3, layout.tokens, 8, generator=torch.Generator().manual_seed(1))
    x, size = tensors_of(layout, 3, 8, 2)
    together = run(cpu_library, form, metric, x, size, tables)
    for image in range(3):
        one = slice(image, image + 1)
        alone = run(cpu_library, form, metric[one], x[one], size[one], tables)
        assert all(torch.equal(part[one], own) for part, own in zip(together, alone, strict=True))
    assert not torch.equal(together[2][0], together[2][1])


GOOD_LAYOUT = MatchLayout("alternate", 12, 1, 3)
GOOD = tables_from_layout(GOOD_LAYOUT)


def good_call() -> Prepared:
    return Prepared(torch.ones(1, 12, 4), *tensors_of(GOOD_LAYOUT, 1, 4, 0), GOOD)


@pytest.mark.parametrize("form", [None, (False, 1, False)], ids=str)
@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("width", 0, BAD_SIZE),
        ("width", 2**24 + 1, BAD_SIZE),
        ("prefix", -1, BAD_SIZE),
        ("prefix", 13, BAD_SIZE),
        ("match.batch", -1, BAD_SIZE),
        ("match.channels", 0, BAD_SIZE),
        ("match.tokens", LARGEST_TOKENS + 1, BAD_SIZE),
        ("match.tokens", 11, BAD_INDEX),
        ("match.type", 3, BAD_TYPE),
        ("match.windows", 0, BAD_ATTRIBUTE),
        ("match.ascending", 2, BAD_ATTRIBUTE),
        ("x", None, NULL_POINTER),
        ("size", None, NULL_POINTER),
        ("merged", None, NULL_POINTER),
        ("merged_size", None, NULL_POINTER),
        ("log_size", None, NULL_POINTER),
        ("heads", 0, BAD_SIZE),
        ("heads", 1025, BAD_SIZE),
        ("match.metric", None, NULL_POINTER),
        ("match.kept", None, NULL_POINTER),
    ],
)
def test_bad_arguments_are_refused(
    cpu_library: ctypes.CDLL, name: str, number: int | None, reason: int, form: Form
) -> None:
    """Refused before anything is read or written."""
    prepared = good_call()
    *owner, field = name.split(".")
    setattr(prepared.call.match if owner else prepared.call, field, number)
    assert prepared.run(cpu_library, form) == reason
    assert all((tensor == -7).all() for tensor in prepared.held.values())


@pytest.mark.parametrize("form", [None, (False, 1, False)], ids=str)
def test_tables_beyond_the_shared_memory_are_refused(cpu_library: ctypes.CDLL, form: Form) -> None:
    prepared = good_call()
    sources = [0, 2, 4, *(-1 for _ in range(LARGEST_SOURCES - 2))]
    prepared.set_list("sources", sources)
    prepared.set_list("taken", [0])
    prepared.set_list("left", [1, 2])
    assert prepared.run(cpu_library, form) == BAD_SIZE
    prepared.set_list("sources", sources[:-1])
    assert prepared.run(cpu_library, form) == 0


@pytest.mark.parametrize("lanes", [0, 2, 8])
def test_impossible_pieces_are_refused(cpu_library: ctypes.CDLL, lanes: int) -> None:
    call = ctypes.byref(good_call().call)
    assert cpu_library.edgeexport_cpu_token_match_merge_kernel(call, lanes, 1, 0) == BAD_SIZE
    for parts in (0, 65536):
        assert cpu_library.edgeexport_cpu_token_match_merge_kernel(call, 1, parts, 0) == BAD_SIZE
