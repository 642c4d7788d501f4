"""A model's file in one plain form: standard operators of one opset, every shape constant, constants computed.

Names of nodes and values stay as they are in the file. Only what depends on the size of the input alone is folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["PlainGraph"]


@dataclass
class PlainGraph:
    """Nodes in order, and what is known of every value.

    Attributes:
        nodes: In an order in which they can run; none depends on constants alone.
        tensors: Constants by name: weights, and what was computed from them.
        shapes: Of every value and constant.
        dtypes: ONNX element types of the same.
        input: The image's name.
        outputs: Of the file, in its order.
    """

    nodes: list[onnx.NodeProto]
    tensors: dict[str, onnx.TensorProto]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, int]
    input: str
    outputs: tuple[str, ...]
    _arrays: dict[str, NDArray] = field(default_factory=dict)

    @cached_property
    def place(self) -> Mapping[str, int]:
        """Value -> position of the node that makes it."""
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    @cached_property
    def readers(self) -> Mapping[str, list[int]]:
        """Value -> positions of the nodes that read it, in order."""
        found: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(index)
        return found

    def constant(self, name: str) -> NDArray | None:
        """A constant's numbers; None where the value is none."""
        if name not in self.tensors:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self.tensors[name])
        return self._arrays[name]

    def is_constant(self, name: str) -> bool:
        """Whether the value is known before the image is."""
        return name in self.tensors

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for the image and constants."""
        index = self.place.get(name)
        return None if index is None else self.nodes[index]

    def varying(self, node: onnx.NodeProto) -> list[str]:
        """A node's inputs that are no constants."""
        return [name for name in node.input if name and name not in self.tensors]

    def above(self, values: Iterable[str], until: Iterable[str] = ()) -> set[int]:
        """Positions of the nodes that ``values`` depend on, without those that make or lie above ``until``."""
        stops, found = {*until}, set[int]()
        waiting = [name for name in values if name not in stops]
        while waiting:
            index = self.place.get(waiting.pop())
            if index is None or index in found:
                continue
            found.add(index)
            waiting += [name for name in self.varying(self.nodes[index]) if name not in stops]
        return found

    def below(self, value: str) -> Iterator[int]:
        """Positions of the nodes that depend on ``value``, in order."""
        reached, seen = {value}, set[int]()
        for index in range(min(self.readers.get(value, [len(self.nodes)])), len(self.nodes)):
            node = self.nodes[index]
            if index not in seen and any(name in reached for name in node.input):
                reached.update(name for name in node.output if name)
                yield index

    def inputs_of(self, positions: Iterable[int]) -> list[str]:
        """Values, no constants, that these nodes read and none of them makes; in order."""
        chosen = sorted(positions)
        made = {name for index in chosen for name in self.nodes[index].output}
        read = [name for index in chosen for name in self.varying(self.nodes[index])]
        return [name for name in dict.fromkeys(read) if name not in made]

    def array(self, name: str) -> NDArray:
        """A constant that is there."""
        value = self.constant(name)
        assert value is not None
        return value

    def numbers(self, name: str) -> list[int]:
        """The same as a list of integers: axes, sizes, indices."""
        return [int(value) for value in np.atleast_1d(self.array(name))]
