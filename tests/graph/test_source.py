from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeexport.graph.source import SOURCE_KEY, source_of_node, source_of_trace

_USER = '  File "/home/ada/net.py", line 12, in forward\n    return x[keep]\n          ~^^^^^^\n'
_TORCH = '  File "/venv/lib/python3.11/site-packages/torch/nn/functional.py", line 9, in norm\n    return f(x)\n'
_TIMM = 'File "/venv/lib/python3.11/site-packages/timm/layers/norm.py", line 89, in forward\n    y = norm(x)'


@pytest.mark.parametrize(
    ("trace", "shown"),
    [
        ("", ""),
        ("no frames here", ""),
        (_USER, "net.py:12 `return x[keep]`"),
        (_USER + _TORCH, "net.py:12 `return x[keep]`"),
        (_TORCH + _USER, "net.py:12 `return x[keep]`"),
        (_USER + _TIMM, "timm/layers/norm.py:89 `y = norm(x)`"),
        (_TORCH, "torch/nn/functional.py:9 `return f(x)`"),
        ('File "/home/ada/net.py", line 3, in forward', "net.py:3"),
        ('File "/a/x.py", line 3, in f\nFile "/a/y.py", line 4, in g', "y.py:4"),
        ('File "/home/ada/torch/net.py", line 5, in forward\n    z', "net.py:5 `z`"),
    ],
)
def test_innermost_frame_outside_torch(trace: str, shown: str) -> None:
    assert source_of_trace(trace) == shown


def test_paths_below_the_current_folder_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_of_trace(f'File "{tmp_path}/src/net.py", line 3, in f\n    a') == "src/net.py:3 `a`"


def test_our_own_metadata_comes_first() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    assert source_of_node(node) == ""
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=_USER)
    assert source_of_node(node) == "net.py:12 `return x[keep]`"
    node.metadata_props.add(key=SOURCE_KEY, value="edgeexport/hosts/segvit/vit.py:40 (forward)")
    assert source_of_node(node) == "edgeexport/hosts/segvit/vit.py:40 (forward)"
