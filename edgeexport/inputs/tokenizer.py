"""Text to ids and back by a folder's tokenizer.json, and the chat template around a question. Runs without torch.

Without a tokenizer a token is a byte of UTF-8: what seeded models of the tests and recipes have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgeexport.errors import BundleError, UsageError

__all__ = ["TextTokens", "chat_text", "with_visual_tokens"]


class TextTokens:
    """Reads text into ids and ids into text.

    Args:
        file: tokenizer.json; None: bytes.
        vocabulary: Ids that the model knows.

    Raises:
        UsageError: The library `tokenizers` is not installed, or bytes are more than the model knows.
        BundleError: The file is damaged.
    """

    def __init__(self, file: Path | None, vocabulary: int) -> None:
        self.file, self.vocabulary = file, vocabulary
        self._tokenizer: Any = None
        if file is None:
            if vocabulary < 256:
                problem = f"the bundle has none, and its model knows {vocabulary} tokens, fewer than there are bytes"
                raise UsageError("tokenizer", problem, "build from a folder with a tokenizer.json")
            return
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise UsageError("tokenizers", "is not installed", "pip install tokenizers") from None
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises Exception itself
            raise BundleError(str(file), f"is no tokenizer ({error})", "copy or build the bundle again") from None

    def ids(self, text: str) -> list[int]:
        """Ids of a text, special tokens only where they are written out."""
        if self._tokenizer is None:
            return list(text.encode())
        found = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        if found and max(found) >= self.vocabulary:
            problem = f"gives token {max(found)}, the model knows {self.vocabulary}"
            raise BundleError(str(self.file), problem, "build from the folder that has both")
        return found

    def text(self, ids: Sequence[int]) -> str:
        """What ids read as; special tokens are left out."""
        if self._tokenizer is None:
            return bytes(token for token in ids if token < 256).decode(errors="replace")
        return str(self._tokenizer.decode(list(ids)))


def chat_text(template: str | None, prompt: str, images: int) -> str:
    """The text that a chat model expects: the template filled with one question, its images first.

    Raises:
        UsageError: The template cannot be filled.
    """
    if template is None:
        return prompt
    content: list[dict[str, str]] = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": prompt}]
    message = {"role": "user", "content": content if images else prompt}
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(template).render(messages=[message], add_generation_prompt=True)
    except (TemplateError, TypeError, ValueError) as error:
        raise UsageError("chat template", f"cannot be filled ({error})", "give chat_template in the recipe") from None


def with_visual_tokens(ids: Sequence[int], image_token: int | None, counts: Sequence[int]) -> list[int]:
    """Every image's token, of which the template writes one, as often as the image has visual tokens.

    Without any in ``ids`` the images come first.

    Raises:
        UsageError: There are more or fewer images in the text than were given.
    """
    if image_token is None:
        return list(ids)
    places = ids.count(image_token) if isinstance(ids, list) else sum(token == image_token for token in ids)
    if not places:
        ids = [*[image_token] * len(counts), *ids]
    elif places != len(counts):
        raise UsageError(
            "prompt", f"names {places} images, {len(counts)} were given", "leave image tokens to the template"
        )
    left, found = list(counts), []
    for token in ids:
        found += [token] * (left.pop(0) if token == image_token else 1)
    return found
