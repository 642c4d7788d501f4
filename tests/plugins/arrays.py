"""Tensors as arguments of C functions called through ctypes."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

__all__ = ["BAD_INDEX", "BAD_SIZE", "BAD_TYPE", "ELEMENT_TYPES", "NULL_POINTER", "address", "call"]

ELEMENT_TYPES = {torch.float32: 0, torch.float16: 1, torch.int32: 3}  # plugins/common/element_type.h
NULL_POINTER, BAD_SIZE, BAD_TYPE, BAD_INDEX = 1, 2, 3, 4  # plugins/common/status.h


def address(tensor: Tensor) -> ctypes.c_void_p:
    """Of a contiguous tensor, which the caller keeps alive."""
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr() if tensor.numel() else None)


def call(library: ctypes.CDLL, name: str, *arguments: ctypes.c_void_p | int | None) -> int:
    """The status that the function returns; integers are passed as int32."""
    function = getattr(library, name)
    function.restype = ctypes.c_int
    return int(function(*(ctypes.c_int32(value) if isinstance(value, int) else value for value in arguments)))
