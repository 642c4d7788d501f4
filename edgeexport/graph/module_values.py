"""What the modules of a fixed model give out in torch, under the names of the graph's values that carry it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeexport.fixed.model import FixedModel
from edgeexport.graph.export import WALK, known_scopes, scope_of

__all__ = ["ModuleValues"]

_Output = tuple[str, tuple[int, ...]]
"""A module's scope, and the shape of a tensor that it gives out."""


class ModuleValues:
    """Runs a fixed model in torch and takes what its modules give out.

    A value carries a module's output where it alone leaves the nodes of that module in this shape. Modules that compute
    nothing in the graph, or run more than once, are left out, and so are integers.

    Args:
        fixed: The model.
        graph: Its export, with the shapes of its values.
        inputs: One batch, in the recipe's form.
        imposed: Decisions to be carried out (see `FixedModel.trace`).

    Attributes:
        modules: Value -> the innermost module whose output it carries, in the graph's order.
    """

    def __init__(
        self, fixed: FixedModel, graph: onnx.GraphProto, inputs: Sequence[Tensor], imposed: Mapping[str, Tensor]
    ) -> None:
        self._fixed, self._inputs, self._imposed = fixed, inputs, imposed
        given: Counter[_Output] = Counter()
        self._run(lambda output, tensor: given.update([output]))
        self._outputs = _carriers(graph, {output for output, times in given.items() if times == 1})
        self.modules = {value: scope for value, (scope, _) in self._outputs.items()}

    def take(self, values: Collection[str]) -> dict[str, NDArray]:
        """Value of `modules` -> what torch has in its place."""
        wanted = {self._outputs[value]: value for value in values}
        taken: dict[str, NDArray] = {}

        def take(output: _Output, tensor: Tensor) -> None:
            if output in wanted:
                taken[wanted[output]] = tensor.numpy().copy()  # the next module may work in place

        self._run(take)
        return taken

    def _run(self, seen: Callable[[_Output, Tensor], None]) -> None:
        with _watched(self._fixed, seen), torch.no_grad():
            self._fixed.trace(*self._inputs, imposed=self._imposed)


@contextmanager
def _watched(fixed: FixedModel, seen: Callable[[_Output, Tensor], None]) -> Iterator[None]:
    def hook(scope: str) -> Callable[[nn.Module, object, object], None]:
        def told(module: nn.Module, arguments: object, given: object) -> None:
            for item in given if isinstance(given, tuple) else (given,):
                if isinstance(item, Tensor) and item.is_floating_point():
                    seen((scope, tuple(item.shape)), item)

        return told

    handles = [
        module.register_forward_hook(hook(name.removeprefix(WALK))) for name, module in fixed.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _carriers(graph: onnx.GraphProto, outputs: Collection[_Output]) -> dict[str, _Output]:
    """The values that carry module outputs, each with that of the innermost module."""
    scopes = known_scopes([scope_of(node) for node in graph.node])
    readers: dict[str, set[str]] = {value.name: {""} for value in graph.output}
    for node, scope in zip(graph.node, scopes, strict=True):
        for name in node.input:
            readers.setdefault(name, set()).add(scope)
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    leaving: dict[_Output, list[str]] = {}
    made = [(name, scope) for node, scope in zip(graph.node, scopes, strict=True) for name in node.output]
    for name, scope in made:
        for module in _itself_and_parents(scope) if name in shapes else ():
            if any(not _is_inside(reader, module) for reader in readers.get(name, ())):
                leaving.setdefault((module, shapes[name]), []).append(name)
    found: dict[str, _Output] = {}
    for output in sorted(outputs, key=lambda output: output[0].count("."), reverse=True):
        if len(names := leaving.get(output, [])) == 1:
            found.setdefault(names[0], output)
    return {name: found[name] for name, _ in made if name in found}


def _itself_and_parents(scope: str) -> list[str]:
    parts = scope.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _is_inside(scope: str, module: str) -> bool:
    return scope == module or scope.startswith(f"{module}.")
