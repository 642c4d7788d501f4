"""What can be wrong with a document or a file, as plain JSON values: drawn and shrunk by hypothesis, kept in the corpus."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

__all__ = ["apply_bytes", "apply_document", "byte_edits", "document_edits", "rehash", "values", "written_value"]

REMOVED = "!removed"
# Where these stand in a document, text is put that Python's own writer would not write.
_RAW = {
    '"!deep"': "[" * 100_000 + "]" * 100_000,
    '"!deep object"': '{"a":' * 50_000 + "1" + "}" * 50_000,
    '"!huge"': "9" * 5_000,
    '"!exponent"': "1e400",
    '"!long"': json.dumps("long " * 200_000),
    '"!many"': "[" + "0," * 200_000 + "0]",
}
_SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), "", "1", "..", "../../x", "/etc/passwd", "model.onnx", ".", "nan", "é\u0301", "\u202e",
    "\ud800", "\x00", "\x1b[31m", "[red]x[/nosuch]", "<script>", "{{ 7*7 }}", "%s%n", "a\nb", "|", "x" * 300, "float32",
    "float16", "int64", "object", "merge_source_1", "pruned_tokens_9", "sha256",
]  # fmt: skip

values = st.one_of(
    st.sampled_from(_SCALARS),
    st.sampled_from([REMOVED, *(raw.strip('"') for raw in _RAW)]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from([[], {}, [1, 2, 3], [[]], {"a": 1}, [None], [{}], ["x", 1]]),
    st.recursive(
        st.sampled_from(_SCALARS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)


def written_value(value: Any) -> str:
    """JSON text of a document, with what no writer writes put in."""
    text = json.dumps(value)
    for mark, raw in _RAW.items():
        text = text.replace(mark, raw)
    return text


@st.composite
def _edit(draw: st.DrawFn, document: Any) -> dict[str, Any]:
    """A value somewhere in a document: the way to it, and what takes its place; or a new key, or a neighbour's value."""
    path: list[Any] = []
    level = document
    while isinstance(level, (dict, list)) and level and draw(st.integers(0, 7 if path else 20)):
        keys = list(level) if isinstance(level, dict) else range(len(level))
        path.append(draw(st.sampled_from(keys)))
        level = level[path[-1]]
    if path and not draw(st.integers(0, 11)):
        path[-1] = draw(st.sampled_from(["x", "schema", "", "../x", "y" * 300]))
    return {"path": path, "value": draw(values)}


def document_edits(document: Any) -> st.SearchStrategy[Any]:
    """Mostly one or two values; sometimes the file's bytes."""
    return st.one_of(
        st.fixed_dictionaries({"edits": st.lists(_edit(document), min_size=1, max_size=2)}),
        st.fixed_dictionaries({"edits": st.lists(_edit(document), min_size=1, max_size=4)}),
        st.fixed_dictionaries({"bytes": byte_edits}),
    )


# Places are shares of the file, so that an edit stays one where the file changes.
byte_edits: st.SearchStrategy[list[list[Any]]] = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.001, 0.01, 0.99, 1.0])),
        st.sampled_from(["flip", "set", "insert", "delete", "cut", "repeat", "zero"]),
        st.one_of(
            st.binary(min_size=1, max_size=8).map(bytes.hex),
            st.sampled_from(["ff" * 4, "00" * 8, "7f", "80", "ffffffff7f", "5b" * 3000, "efbbbf", "0d0a", "22", "7b"]),
        ),
    ).map(list),
    min_size=1,
    max_size=4,
)


def apply_bytes(content: bytes, edits: list[list[Any]]) -> bytes:
    """Content after the edits."""
    data = bytearray(content)
    for share, how, text in edits:
        given = bytes.fromhex(text)
        at = min(int(share * len(data)), len(data))
        if how == "flip" and at < len(data):
            data[at] ^= given[0] or 1
        elif how == "set":
            data[at : at + len(given)] = given
        elif how == "insert":
            data[at:at] = given
        elif how == "delete":
            del data[at : at + 16 * len(given)]
        elif how == "cut":
            del data[at:]
        elif how == "repeat":
            data[at:at] = data[max(0, at - 64) : at] * (1 + given[0] % 50)
        elif how == "zero":
            data[at : at + 16 * len(given)] = bytes(len(data[at : at + 16 * len(given)]))
    return bytes(data)


def apply_document(content: bytes, damage: dict[str, Any]) -> bytes:
    """A JSON file after a damage of `document_edits`."""
    if "bytes" in damage:
        return apply_bytes(content, damage["bytes"])
    document = json.loads(content)
    for edit in damage["edits"]:
        document = _edited(document, edit["path"], edit["value"])
    return written_value(document).encode()


def _edited(document: Any, path: list[Any], value: Any) -> Any:
    if not path:
        return document if value == REMOVED else value
    level = document
    try:
        for step in path[:-1]:
            level = level[step]
        if value == REMOVED:
            del level[path[-1]]
        else:
            level[path[-1]] = value
    except (KeyError, IndexError, TypeError):  # an earlier edit took the way away
        pass
    return document


def rehash(bundle: Path) -> None:
    """Brings the manifest's hashes up to date: who damages a bundle on purpose does that as well."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = manifest["files"]
    manifest["files"] = {
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() if (bundle / name).is_file() else "0"
        for name in files
    }
    (bundle / "manifest.json").unlink()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
