"""A bundle in ten lines of Python, with ONNX Runtime and Pillow alone: run_python.py BUNDLE PHOTO"""

import json
import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image

bundle, photo = map(pathlib.Path, sys.argv[1:])
taken = json.loads((bundle / "manifest.json").read_text())["input"]
pixels = np.asarray(Image.open(photo).convert("RGB").resize((taken["width"], taken["height"])))
if taken["preprocess"] is None:  # float32 (3, H, W), normalised as ImageNet; else the graph takes uint8 (H, W, 3)
    pixels = ((pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]).astype(np.float32).transpose(2, 0, 1)
elif taken["preprocess"]["bgr_to_rgb"]:
    pixels = pixels[..., ::-1]
prediction = onnxruntime.InferenceSession(bundle / "model.onnx").run(None, {taken["name"]: pixels[None]})[0]
print(prediction.dtype, prediction.shape, np.unique(prediction)[:10])
