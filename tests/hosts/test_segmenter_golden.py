"""Segmenter with CTS against the published code's masks, in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segmenter_cases import GivenPolicy, golden_fixed
from shared_cases import golden_case

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.fixed.published import PublishedModel
from edgeexport.graph.graphs import export_of_fixed, graphs_from_export
from edgeexport.graph.lint import lint_model

NAME = "cts_segmenter_batch2"
ATOL, RTOL = 1e-4, 1e-3


def test_the_policy_given_decides(tmp_path: Path) -> None:
    """The windows of the golden data are those that the logits ask for."""
    case = golden_case(NAME)
    fixed = golden_fixed(case, tmp_path)
    with torch.no_grad():
        trace = fixed.trace(torch.from_numpy(case.arrays["image"]))
    shared = case.arrays["shared_mask"].reshape(2, -1)
    for row, mask in zip(trace.outputs["shared_windows"].numpy(), shared, strict=True):
        np.testing.assert_array_equal(row, np.flatnonzero(mask))
    assert not np.array_equal(shared[0], shared[1]), "two images with different selections"


def test_as_published_is_the_reference(tmp_path: Path) -> None:
    case = golden_case(NAME)
    fixed = golden_fixed(case, tmp_path)
    logits = fixed.model.policy_net.logits
    for image in range(2):
        fixed.model.policy_net = GivenPolicy(logits[image : image + 1])
        (found,) = PublishedModel(fixed.model, fixed.recipe).run(
            [torch.from_numpy(case.arrays["image"][image : image + 1])]
        )
        np.testing.assert_allclose(found.outputs["scores"], case.arrays["masks"][image], atol=ATOL, rtol=RTOL)


@pytest.mark.parametrize("output", ["scores", "class_map"])
def test_exported_graph_is_the_reference(output: str, tmp_path: Path) -> None:
    case = golden_case(NAME)
    fixed = golden_fixed(case, tmp_path, output=output)
    graphs = graphs_from_export(fixed, export_of_fixed(fixed, {}))
    lint_model(graphs.with_functions).raise_for_findings()
    lint_model(graphs.tensorrt).raise_for_findings()
    masks = case.arrays["masks"]
    for model in (graphs.with_functions, graphs.tensorrt):
        found = OnnxRuntimeRunner(model.SerializeToString()).run(case.arrays["image"])
        if output == "scores":
            np.testing.assert_allclose(found["scores"], masks, atol=ATOL, rtol=RTOL)
            continue
        best = np.sort(masks, axis=1)
        clear = best[:, -1] - best[:, -2] > 1e-4
        assert clear.mean() > 0.99
        np.testing.assert_array_equal(found["class_map"][clear], masks.argmax(axis=1)[clear])
