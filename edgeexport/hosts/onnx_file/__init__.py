"""Family: a Vision Transformer in an ONNX file that somebody else exported, recognised by shapes and constants."""
