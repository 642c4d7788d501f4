"""ONNX graphs: export, one pass per file, static lint, cost."""
