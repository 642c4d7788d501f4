"""What the lint tells people to run on a graph of dynamic shapes does what it is said to do."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import parser

from edgeexport.graph.lint import lint_model


def test_command_of_the_remedy_makes_the_graph_static(tmp_path: Path) -> None:
    """Polygraphy's command line, which the extra [export] brings with the onnx-graphsurgeon that it needs."""
    model = parser.parse_model("""<ir_version: 10, opset_import: ["": 20]>
    g (float[N,8] x) => (float[M,4] y) <int64[1] first = {0}, int64[1] two = {2}, int64[1] four = {4}> {
        shape = Shape (x)
        rows = Gather (shape, first)
        more = Mul (rows, two)
        target = Concat <axis = 0> (more, four)
        flat = Reshape (x, target)
        y = Softmax <axis = 1> (flat)
    }""")
    onnx.save(model, tmp_path / "dynamic model.onnx")
    report = lint_model(tmp_path / "dynamic model.onnx")
    remedy = next(finding.remedy for finding in report.errors if finding.op_type == "input")
    program, *arguments = shlex.split(remedy[remedy.index("polygraphy ") :])
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lint_model(tmp_path / "static.onnx").findings == ()
    static = onnx.load(tmp_path / "static.onnx")
    assert [node.op_type for node in static.graph.node] == ["Reshape", "Softmax"]
    x = np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)
    found, expected = (
        onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for graph in (static, model)
    )
    np.testing.assert_array_equal(found[0], expected[0])
