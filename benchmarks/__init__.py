"""Benchmarks: every comparison as paired alternating runs in one process. Run all with ``python -m benchmarks``."""
