"""What lies beside the weights of Hugging Face transformers: config.json, which says more than keys and shapes do, and the
index of weights in several files.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from msgspec import Meta

from edgeexport.documents.reading import Kind
from edgeexport.errors import CheckpointError

__all__ = [
    "HUGGING_FACE_CONFIG",
    "HUGGING_FACE_INDEX",
    "LANGUAGE_MODEL_CONFIG",
    "TOKENIZER_CONFIG",
    "HuggingFaceConfig",
    "HuggingFaceIndex",
]


class _Vision(TypedDict, total=False):
    model_type: str
    hidden_act: str | None


class HuggingFaceConfig(_Vision, total=False):
    """``vision_config`` is that of the image encoder in a model of images and text."""

    vision_config: _Vision | None


HUGGING_FACE_CONFIG: Kind[HuggingFaceConfig] = Kind(
    HuggingFaceConfig, remedy="copy the folder again", error=CheckpointError, loose=True
)


class HuggingFaceIndex(TypedDict):
    """``weight_map``: key -> name of the file that holds it."""

    weight_map: dict[str, Annotated[str, Meta(min_length=1, max_length=255)]]


HUGGING_FACE_INDEX: Kind[HuggingFaceIndex] = Kind(
    HuggingFaceIndex, remedy="copy the folder again", error=CheckpointError, loose=True
)
LANGUAGE_MODEL_CONFIG: Kind[dict[str, Any]] = Kind(
    dict[str, Any], remedy="copy the folder again", error=CheckpointError, loose=True
)
"""config.json of a language model, whose entries are validated as a recipe's are (`edgeexport.hosts.decoder.config`)."""

TOKENIZER_CONFIG: Kind[dict[str, Any]] = Kind(
    dict[str, Any], remedy="copy the folder again", error=CheckpointError, loose=True
)
"""tokenizer_config.json: of it, ``chat_template`` is read."""
