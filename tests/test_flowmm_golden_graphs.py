"""The golden Qwen2.5-VL through the exported graphs in ONNX Runtime, in both forms of cache update."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from decoder_cases import fixed_spec, flowmm_cases, golden_decoder, steps_of

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.graph.graph_list import graphs_from_forms
from edgeexport.hosts.decoder.facts import prompt_facts
from edgeexport.hosts.decoder.graphs import decoder_graphs
from edgeexport.inputs.prompt import laid_out_prompt

ATOL = 1e-4
SHARED: dict[str, dict[str, bytes]] = {}


def graphs_of(case: str, form: str) -> tuple[dict[str, bytes], int]:
    """The graphs' bytes; those that no case changes are exported once."""
    model, golden = golden_decoder(form)
    spec = fixed_spec(golden, case)
    forms = decoder_graphs(model, steps_of(spec, model), spec.budget)
    known = SHARED.setdefault(form, {})
    wanted = [item for item in forms if item.name == "prefill" or item.name not in known]
    made = {g.name: g.with_functions.SerializeToString() for g in graphs_from_forms(wanted, {})}
    known |= {name: graph for name, graph in made.items() if name != "prefill"}
    return {**known, **made}, spec.budget


@pytest.mark.parametrize(
    ("case", "form"), [*((case, "operators") for case in flowmm_cases()), ("fixed", "tensor_scatter")]
)
@torch.no_grad()
def test_flowmm_exported_graphs_are_golden(case: str, form: str) -> None:
    model, golden = golden_decoder(form)
    graphs, budget = graphs_of(case, form)
    facts = prompt_facts(model.spec, budget)
    runner = PromptRunner({name: OnnxRuntimeRunner(graph, threads=1) for name, graph in graphs.items()}, facts)
    prompt = laid_out_prompt(
        golden.arrays["input_ids"][0].tolist(),
        facts.length,
        image_token=facts.image_token,
        grids=facts.grids,
        merge=facts.merge,
        axes=facts.axes,
    )
    np.testing.assert_array_equal(prompt.position_ids, golden.arrays["position_ids"])
    np.testing.assert_array_equal(prompt.modality, golden.arrays["modality"])
    runner.prompt(prompt, golden.arrays["pixel_values"])
    for layer in range(facts.layers):
        for part in ("pivot", "target"):
            found = runner.prefilled[f"{part}.{layer}"][0]
            np.testing.assert_array_equal(found, golden.arrays[f"{case}_{part}_{layer}"], f"{part} {layer}")
        for part in ("key", "value"):
            found = runner.prefilled[f"present.{layer}.{part}"][0, :, :budget]
            np.testing.assert_allclose(found, golden.arrays[f"{case}_{part}_{layer}"], atol=ATOL)
    logits = np.stack([runner.next(int(token)) for token in golden.arrays["follow_ids"][0]])
    np.testing.assert_allclose(logits, golden.arrays[f"{case}_logits"][0], atol=ATOL)
