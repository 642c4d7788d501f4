"""Writes the model's tokenizer.json and chat template: `python -m examples.needle.tokenizer`. A word is a token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from examples.needle.settings import MODEL_FOLDER
from examples.needle.words import FILLERS, IDS, PLACES

__all__ = ["CHAT_TEMPLATE", "write_tokenizer"]

_NAMED = ", ".join(f"'{place}'" for place in PLACES)
CHAT_TEMPLATE = (
    "{% set places = [" + _NAMED + "] %}<begin> {% for message in messages %}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{% if part.type == 'image' %}"
    "{{ places[loop.index0] }} <picture> <image> </picture> "
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def write_tokenizer(folder: Path) -> None:
    """Unknown words are read as a filler."""
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token=FILLERS[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    text = json.dumps({"chat_template": CHAT_TEMPLATE}, indent=1)
    (folder / "tokenizer_config.json").write_text(text + "\n")


if __name__ == "__main__":
    write_tokenizer(MODEL_FOLDER)
