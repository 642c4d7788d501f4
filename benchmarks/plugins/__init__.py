"""Benchmarks of the plugins' CUDA kernels, without TensorRT. Run with ``python -m benchmarks.plugins``."""
