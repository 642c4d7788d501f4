"""Silences what exporter and optimizer libraries say to their own developers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_libraries"]

_CHATTY = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block, torch's exporter and onnxscript's optimizer log errors only, and Python warnings are dropped.

    They report every fold they skip and every registry they fall back to; errors still come as exceptions.
    """
    loggers = [logging.getLogger(name) for name in _CHATTY]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
