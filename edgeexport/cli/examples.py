"""Examples under every command's help: (what it does, the line), by the command's words. Tests parse each line."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

_BUNDLE = "work_dirs/segvit_cts_dtop-orin-fp16"

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("A bundle of a shipped recipe, for a Jetson AGX Orin", "edgeexport build segvit_cts_dtop.py --target orin"),
        ("Does its reduction pay?", "edgeexport inspect work_dirs/segvit_cts_dtop-orin-fp32"),
    ),
    "version": (
        ("The version alone", "edgeexport version"),
        ("With the schemas of its documents", "edgeexport version --json"),
    ),
    "doctor": (
        ("What this machine can do", "edgeexport doctor"),
        ("For one target, for a program", "edgeexport doctor --target orin --json"),
    ),
    "recipes": (
        ("What ships", "edgeexport recipes"),
        ("Keep a model of timm as a recipe file", "edgeexport recipes timm:deit_small_patch16_224 --tome 13 --write deit.py"),
    ),
    "build": (
        ("A shipped recipe in FP16", "edgeexport build segvit_cts_dtop.py --target orin --precision fp16"),
        ("An ONNX file of somebody else's, 8 tokens merged per block", "edgeexport build model.onnx --target orin --tome 8"),
        ("On the device: the engine of a bundle", f"edgeexport build {_BUNDLE}"),
    ),
    "inspect": (
        ("Does it pay? Tokens, work, operators", f"edgeexport inspect {_BUNDLE}"),
        ("The kernels that TensorRT makes of it", f"edgeexport inspect {_BUNDLE} --kernels"),
    ),
    "lint": (
        ("Any ONNX file", "edgeexport lint model.onnx --target orin-nano"),
        ("A static form of a dynamic one", "edgeexport lint model.onnx --fix static.onnx --input-shape pixels=1,3,224,224"),
    ),
    "verify": (
        ("Against the original weights", f"edgeexport verify {_BUNDLE} --checkpoint iter_160000.pth"),
        ("On the device", f"edgeexport verify {_BUNDLE} --host ssh://user@orin"),
    ),
    "debug": (
        ("Which part drifts first", f"edgeexport debug {_BUNDLE} --precision fp16"),
        ("What the reduction costs, block by block", f"edgeexport debug {_BUNDLE} --against dense"),
    ),
    "run": (
        ("Photographs, a folder of them, a film", f"edgeexport run {_BUNDLE} photo.jpg photos/ film.mp4 --out-dir out"),
        ("For a program", f"edgeexport run {_BUNDLE} photo.jpg --json"),
    ),
    "evaluate": (
        ("mIoU on labelled images", f"edgeexport evaluate {_BUNDLE} --data ade20k --split validation"),
        (
            "What merging keeps of the dense model's features",
            "edgeexport evaluate timm:vit_small_patch14_dinov2 --tome 8 --data photos --against dense",
        ),
    ),
    "calibrate": (
        ("How many tokens to prune", "edgeexport calibrate my_model.py --data photos --coverage 0.9"),
        ("How to merge", "edgeexport calibrate timm:deit_small_patch16_224 --data photos --min-cosine 0.99"),
    ),
    "tune": (
        (
            "The fastest form on an AGX Orin that keeps the features",
            "edgeexport tune timm:vit_small_patch14_dinov2 --target orin --data photos --min-cosine 0.99",
        ),
        (
            "The best one within 4 ms, for half an hour, on four processes",
            "edgeexport tune my_model.py --target orin --data photos --latency-ms 4 --budget 30m --workers 4",
        ),
    ),
    "compare": (
        ("Side by side", "edgeexport compare old_bundle bundle"),
        (
            "In CI: fails where B is slower by more than 3 %, beyond doubt",
            'edgeexport compare old_bundle bundle --fail-if "latency.ratio_low > 1.03" --github',
        ),
    ),
    "profile": (
        ("Latency", f"edgeexport profile {_BUNDLE}"),
        ("With energy, and the dense model beside it", f"edgeexport profile {_BUNDLE} --power --baseline dense_bundle"),
    ),
    "triton": (
        ("A model repository", f"edgeexport triton {_BUNDLE} --out model_repository"),
        ("With ONNX Runtime as its backend", f"edgeexport triton {_BUNDLE} --out model_repository --backend onnxruntime"),
    ),
    "plugin": (
        ("Compile the library", "edgeexport plugin build --target orin"),
        ("What it holds", "edgeexport plugin list"),
    ),
    "plugin build": (
        ("For an AGX Orin", "edgeexport plugin build --target orin"),
        ("The sources of a bundle", "edgeexport plugin build --sources bundle/plugins --out libedgeexport_plugins.so"),
    ),
    "plugin headers": (
        ("TensorRT's headers, where the system has none", "edgeexport plugin headers"),
        ("Where they are, for a program", "edgeexport plugin headers --json"),
    ),
    "plugin list": (
        ("The plugins, and what was compiled", "edgeexport plugin list"),
        ("What a library records", "edgeexport plugin list libedgeexport_plugins.so"),
    ),
    "plugin test": (
        ("Would it fit an AGX Orin?", "edgeexport plugin test libedgeexport_plugins.so --target orin"),
        ("And its TensorRT?", "edgeexport plugin test libedgeexport_plugins.so --target orin --tensorrt 10.3.0"),
    ),
}  # fmt: skip
