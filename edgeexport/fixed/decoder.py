"""A user's decoder run on what a model gives out in torch: the reference of the graph that it is appended to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from edgeexport.config.paths import shown_path
from edgeexport.device.plain_session import plain_session
from edgeexport.errors import UsageError
from edgeexport.recipe.decoder import DecoderSpec

__all__ = ["Decoder"]


class Decoder:
    """Runs the file as it is, in ONNX Runtime without optimisations."""

    def __init__(self, spec: DecoderSpec) -> None:
        self.spec = spec

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        return plain_session(self.spec.path)

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the model gives out by name, batch first -> the file's outputs by name.

        Raises:
            UsageError: ONNX Runtime does not load the file, or does not run it on these.
        """
        try:
            return self._outputs(given)
        except Exception as error:  # ONNX Runtime's, of many classes
            reason = " ".join(str(error).split())[:200]
            problem = f"does not run on the model's {', '.join(self.spec.reads)}: {reason}"
            raise UsageError(shown_path(self.spec.path), problem, "export it for features of that shape") from None

    def _outputs(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        feed = {name: given[read].numpy() for name, read in zip(self.spec.inputs, self.spec.reads, strict=True)}
        batch = len(next(iter(feed.values())))
        sizes = {item.name: item.shape[0] for item in self._session.get_inputs()}
        feed = {name: _repeated(value, sizes[name]) for name, value in feed.items()}
        values = self._session.run(list(self.spec.outputs), feed)
        return {
            name: torch.from_numpy(np.ascontiguousarray(value[:batch]))
            for name, value in zip(self.spec.outputs, values, strict=True)
        }


def _repeated(value: np.ndarray, batch: object) -> np.ndarray:
    """As many images as a file of constant batch takes, where there are fewer: the last again."""
    missing = batch - len(value) if isinstance(batch, int) else 0
    return value if missing <= 0 else np.concatenate([value, *[value[-1:]] * missing])
