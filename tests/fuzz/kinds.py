"""All kinds of input that come from elsewhere."""

from __future__ import annotations

from kinds_bundle import BUNDLE_KINDS
from kinds_devices import DEVICE_KINDS
from kinds_files import FILE_KINDS
from kinds_words import WORD_KINDS

__all__ = ["KINDS"]

KINDS = [*BUNDLE_KINDS, *FILE_KINDS, *WORD_KINDS, *DEVICE_KINDS]
