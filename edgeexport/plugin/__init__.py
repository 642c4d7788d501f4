"""The TensorRT plugin library: find a toolkit and headers, compile, read what a library records. No torch, no onnx."""
