"""One graph of a model that is exported as several: its module, and how its inputs and outputs are named."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["GraphForm"]


@dataclass(frozen=True)
class GraphForm:
    """A graph to be exported.

    Attributes:
        name: Of its file, 'prefill'.
        module: In eval mode; returns a tuple in the order of ``output_names``.
        examples: Inputs of the final shapes and dtypes, in the order of ``input_names``; their values do not matter.
        input_names, output_names: See above.
        opset: Of the standard operators.
    """

    name: str
    module: nn.Module
    examples: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    opset: int
