"""A dense plan at other token counts: which kernels change, and what their products and values become."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_kernel_plan import tensor

from edgeexport.cost.gpu_limits import gpu_limits
from edgeexport.cost.kernel_plan import DENSE, KernelPlan, PlannedKernel
from edgeexport.cost.plan_time import plan_prediction
from edgeexport.cost.token_times import block_ms, block_of_part, branch_ms, plan_at_tokens

N, C, H, D = 200, 96, 3, 32


def dense_plan(tokens: int) -> KernelPlan:
    """One block and its surroundings, as a compiler would fuse them."""
    x = tensor("x", 1, tokens, C)

    def product(name: str, wide_in: int, wide_out: int) -> PlannedKernel:
        return PlannedKernel(
            "product",
            inputs=(tensor(f"{name}_in", 1, tokens, wide_in),),
            constants=(tensor(f"{name}_w", 1, wide_in, wide_out), tensor(f"{name}_b", 1, 1, wide_out)),
            outputs=(tensor(f"{name}_out", 1, tokens, wide_out),),
            part="block_1",
            macs=tokens * wide_in * wide_out,
            dtype="float16",
        )

    heads = tensor("q", H, tokens, D)
    attention = PlannedKernel(
        "attention",
        inputs=(heads, tensor("k", H, D, tokens), tensor("v", H, tokens, D)),
        outputs=(tensor("a", H, tokens, D),),
        part="block_1",
        macs=2 * H * tokens * tokens * D,
        dtype="float16",
    )
    norm = PlannedKernel(
        "generated", inputs=(x,), outputs=(tensor("n", 1, tokens, C),), part="block_1", values=2 * tokens * C
    )
    embedding = PlannedKernel("generated", outputs=(tensor("e", 1, N, C),), part="embedding", values=N * C)
    rows = (embedding, product("qkv", C, 3 * C), attention, product("proj", C, C), norm, product("fc1", C, 4 * C))
    return KernelPlan(DENSE, "fp16", "SM86", "a test", (*rows, product("fc2", 4 * C, C)))


@pytest.mark.parametrize("wanted", [1, 63, 64, 65, 128, 199, 200])
def test_the_plan_of_another_count_is_the_one_that_would_have_been_written(wanted: int) -> None:
    assert plan_at_tokens(dense_plan(N), N, wanted) == dense_plan(wanted)


def test_unfused_attention_has_tokens_inside() -> None:
    """Probabilities times values: the inner axis is tokens as well."""
    row = PlannedKernel(
        "product",
        inputs=(tensor("p", H, N, N), tensor("v", H, N, D)),
        outputs=(tensor("a", H, N, D),),
        part="block_1",
        macs=H * N * N * D,
        dtype="float32",
    )
    plan = replace(dense_plan(N), rows=(row,))
    (changed,) = plan_at_tokens(plan, N, 80).rows
    assert changed.macs == H * 80 * 80 * D and changed.inputs[0].shape == (H, 80, 80)


def test_a_batch_has_its_tokens_in_one_axis() -> None:
    row = PlannedKernel("generated", inputs=(tensor("x", 2 * N, C),), outputs=(tensor("y", 2, N, C),), part="block_1")
    (changed,) = plan_at_tokens(replace(dense_plan(N), rows=(row,)), N, 50, batch=2).rows
    assert changed.inputs[0].shape == (100, C) and changed.outputs[0].shape == (2, 50, C)


def test_branches_add_up_and_fall_with_tokens() -> None:
    limits, plan = gpu_limits("orin"), dense_plan(N)
    attention, mlp, other = branch_ms(plan, limits)
    assert attention + mlp + other == pytest.approx(plan_prediction(plan, limits).total_ms)
    ms = plan_prediction(plan, limits).ms
    assert other == pytest.approx(ms[0]) and mlp == pytest.approx(ms[5] + ms[6])  # fc1 and fc2 alone
    smaller = branch_ms(plan_at_tokens(plan, N, 60), limits)
    assert smaller[0] < attention and smaller[1] < mlp and smaller[2] == pytest.approx(other)
    assert block_ms(plan_prediction(plan, limits)) == pytest.approx({None: other, 1: attention + mlp})


def test_parts() -> None:
    parts = {"block_7": 7, "merge_12": 12, "embedding": None, "final_norm": None, "other": None, "prune_3": None}
    assert {part: block_of_part(part) for part in parts} == parts
