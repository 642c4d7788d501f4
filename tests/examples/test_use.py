"""docs/use.md: its programs are the files in examples/use, and run where they can; what `edgeexport triton` writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from shared_cases import REPOSITORY, CommandResult

from edgeexport.commands.triton import write_triton_model
from edgeexport.errors import EdgeExportError, UsageError
from edgeexport.inputs.photos import shipped_photos
from edgeexport.plugin.headers import find_headers
from edgeexport.plugin.toolkit import find_toolkit

Command = Callable[..., CommandResult]
USE = REPOSITORY / "examples" / "use"
PAGE = (REPOSITORY / "docs" / "use.md").read_text(encoding="utf-8")
HEADERS = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/include/onnxruntime/core/session")


def compiler() -> str:
    found = shutil.which("g++") or shutil.which("c++")
    if found is None:
        pytest.skip("there is no C++ compiler")
    return found


def onnxruntime_headers() -> Path:
    places = [os.environ.get("EDGEEXPORT_ORT_INCLUDE", ""), *HEADERS]
    for place in places:
        if place and (Path(place) / "onnxruntime_cxx_api.h").is_file():
            return Path(place)
    pytest.skip("no headers of ONNX Runtime; libonnxruntime-dev has them, or EDGEEXPORT_ORT_INCLUDE names their folder")


@pytest.mark.parametrize("name", ["run_python.py", "run_onnxruntime.cpp", "run_tensorrt.cpp"])
def test_the_page_shows_the_programs_as_they_are(name: str) -> None:
    assert f"\n{(USE / name).read_text(encoding='utf-8').strip()}\n```" in PAGE


def prediction_of(bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    """An input with its prediction, by ONNX Runtime in this process."""
    with np.load(bundle / "golden.npz") as golden:
        pixels = next(
            golden[name] for name in golden.files if golden[name].dtype == np.uint8 and golden[name].ndim == 4
        )
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    pixels = pixels[: session.get_inputs()[0].shape[0]]
    return pixels, session.run(None, {session.get_inputs()[0].name: pixels})[0]


def test_cpp_with_onnxruntime(tiny_bundle: Path, tmp_path: Path) -> None:
    """Links the library out of Python's wheel."""
    headers, library = (
        onnxruntime_headers(),
        next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")),
    )
    (tmp_path / "libonnxruntime.so").symlink_to(library)
    (tmp_path / library.name).symlink_to(library)
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    program = tmp_path / "run"
    command = [compiler(), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-isystem", str(headers)]
    command += [str(USE / "run_onnxruntime.cpp"), "-L", str(tmp_path), "-lonnxruntime", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run([*command, "-o", str(program)], check=True)
    pixels, expected = prediction_of(tiny_bundle)
    pixels.tofile(tmp_path / "input.raw")
    files = [str(tiny_bundle / "model.onnx"), str(tmp_path / "input.raw"), str(tmp_path / "prediction.raw")]
    subprocess.run([str(program), *files], check=True, capture_output=True)
    found = np.fromfile(tmp_path / "prediction.raw", expected.dtype).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)
    assert subprocess.run([str(program), "nowhere.onnx", *files[1:]], capture_output=True, check=False).returncode == 1


def test_cpp_with_tensorrt_compiles() -> None:
    """Against the headers; there is no TensorRT and no GPU here to run it with."""
    try:
        toolkit, headers = find_toolkit(), find_headers(download=False)
    except EdgeExportError as error:
        pytest.skip(f"no CUDA toolkit or no headers of TensorRT: {error}")
    cuda = [folder / "cuda_runtime_api.h" for folder in toolkit.nvcc.resolve().parents[1].rglob("include")]
    include = next(path.parent for path in cuda if path.is_file())
    command = [compiler(), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    command += ["-isystem", str(headers.folder), "-isystem", str(include), str(USE / "run_tensorrt.cpp")]
    subprocess.run(command, check=True)


def test_ten_lines_of_python(tiny_bundle: Path) -> None:
    photo = shipped_photos()[0]
    command = [sys.executable, str(USE / "run_python.py"), str(tiny_bundle), str(photo)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    session = onnxruntime.InferenceSession(tiny_bundle / "model.onnx")
    taken = session.get_inputs()[0]
    pixels = np.asarray(Image.open(photo).convert("RGB").resize(taken.shape[2:0:-1]))[None, ..., ::-1]
    expected = session.run(None, {taken.name: pixels})[0]
    assert printed.strip() == f"{expected.dtype} {expected.shape} {np.unique(expected)[:10]}"


def test_a_model_repository(tiny_bundle: Path, tmp_path: Path, edgeexport: Command) -> None:
    out = tmp_path / "models"
    done = edgeexport("triton", tiny_bundle, "--out", out, "--name", "seg", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "folder": str(out / "seg"),
        "backend": "onnxruntime",
        "files": ["config.pbtxt", "1/model.onnx"],
        "server": "",
    }
    config = (out / "seg" / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(out / "seg" / "1" / "model.onnx")
    told = re.findall(r'\{ name: "(\w+)", data_type: TYPE_(\w+), dims: \[ ([\d, ]+) \] \}', config)
    kinds = {"tensor(uint8)": "UINT8", "tensor(int32)": "INT32", "tensor(float)": "FP32"}
    expected = [
        (item.name, kinds[item.type], ", ".join(map(str, item.shape)))
        for item in (*session.get_inputs(), *session.get_outputs())
    ]
    assert told == expected and 'platform: "onnxruntime_onnx"' in config and "max_batch_size: 0" in config
    again = edgeexport("triton", tiny_bundle, "--out", out, "--name", "seg")
    assert again.code == 2 and "exists already" in again.err


def test_a_model_repository_with_an_engine(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(tiny_bundle, bundle)
    with pytest.raises(UsageError, match=r"holds no engine\.plan"):
        write_triton_model(bundle, tmp_path / "models", backend="tensorrt")
    with pytest.raises(UsageError, match="did you mean 'tensorrt'"):
        write_triton_model(bundle, tmp_path / "models", backend="tensort")
    (bundle / "engine.plan").write_bytes(b"an engine")
    written = write_triton_model(bundle, tmp_path / "models")
    assert (written.folder / "1" / "model.plan").read_bytes() == b"an engine"
    assert 'platform: "tensorrt_plan"' in (written.folder / "config.pbtxt").read_text()
    assert "libedgeexport_plugins.so" in written.server
