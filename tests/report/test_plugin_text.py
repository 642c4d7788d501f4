"""The plugin library in one line."""

from __future__ import annotations

from edgeexport.report.plugin_text import library_text

BUILT = {
    "status": "built",
    "reason": "",
    "architectures": [87],
    "tensorrt_headers": "10.14.1",
    "cuda": "13.0",
    "machine": "x86_64",
}


def test_library_of_a_pc_does_not_run_on_the_device() -> None:
    text = library_text(BUILT, "orin")
    facts = "sm_87, TensorRT 10.14.1 headers, CUDA 13.0, x86_64"
    assert text == f"{facts}, which no device loads; on the device: edgeexport plugin build"
    assert "compile" not in library_text({**BUILT, "machine": "aarch64"}, "orin")
    assert "compile" not in library_text(BUILT, "gpu")


def test_reason_is_told() -> None:
    missing = {**BUILT, "status": "not-built", "reason": "nvcc: not found"}
    assert library_text(missing, "orin") == "not built: nvcc: not found"
    assert library_text(None, "orin") == ""
