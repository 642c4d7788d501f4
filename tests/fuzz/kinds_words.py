"""What people write: recipes, options, names of files."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from base import command
from damage import apply_bytes, byte_edits, document_edits, values
from hypothesis import strategies as st
from kind import Kind
from recipe_cases import TINY, TINY_ATM, TINY_CLIP, TINY_DIFFUSION, TINY_TIMM, changed

__all__ = ["WORD_KINDS"]


_FEATURES = {**TINY_TIMM, "output": "features", "taps": {"blocks": [1, 3], "norm": True}}
_RECIPES = {
    "segvit": TINY,
    "atm": TINY_ATM,
    "timm": TINY_TIMM,
    "clip": TINY_CLIP,
    "diffusion": TINY_DIFFUSION,
    "features": _FEATURES,
}
_REDUCTIONS: dict[str, Any] = {
    "dtop": {"prune": {2: 16, 3: 8}},
    "cts": {"num_shared": 4},
    "tome": {"r": 4},
    "dsm": {"r": 4, "delay": 1},
    "random": {"r": 2},
}


def _recipes(base: Path) -> st.SearchStrategy[Any]:
    pairs = [(name, key) for name in _RECIPES for key in [None, *_REDUCTIONS]]
    words = st.sampled_from(
        ["model.depth", "model.backbone.num_layers", "input.shape", "reduction.tome.r", "reduction", "output", "classes",
         "palette", "checkpoint", "seed", "extra_outputs", "tail.form", "model.decode_head.num_classes", "x", "a.b.c", "",
         "input.preprocess.mean", "input.crop", "input.crop.pct", "taps", "head", "reduction.tome.unmerge",
         "model.img_size", "model.backbone.img_size", "reduction.dtop.prune"]
    )  # fmt: skip
    texts = values.map(repr) | st.sampled_from(
        ["(" * 300, "[" * 3000, "9" * 5000, "{1: 2}", "1e400", "()", "(1, 3, 64)", "__import__('os')", "\0", "a=b"]
    )
    return st.sampled_from(pairs).flatmap(
        lambda pair: st.fixed_dictionaries(
            {
                "recipe": st.just(pair[0]),
                "reduction": st.just(pair[1]),
                "edits": st.lists(_config_edit(_config(*pair)), max_size=2),
                "options": st.lists(st.tuples(words, texts).map("=".join), max_size=2),
            }
        )
    )


def _config(recipe: str, reduction: str | None) -> dict[str, Any]:
    extra = {} if reduction is None else {("reduction", reduction): _REDUCTIONS[reduction]}
    return changed(_RECIPES[recipe], extra)


def _config_edit(config: Any) -> st.SearchStrategy[Any]:
    """As `document_edits` does, in a configuration whose keys may be integers."""
    plain = json.loads(json.dumps(config))
    return document_edits(plain).filter(lambda damage: "edits" in damage).map(lambda damage: damage["edits"][0])


def _read_recipe(damage: Any, folder: Path) -> None:
    from edgeexport.config.options import config_with_options
    from edgeexport.fixed.tokens import tokens_json
    from edgeexport.recipe.validation import recipe_from_config

    config = _config(damage["recipe"], damage["reduction"])
    for edit in damage["edits"]:
        level: Any = config
        path = [int(key) if key in ("2", "3") else key for key in edit["path"]]
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for step in path[:-1]:
                level = level[step]
            if path:
                level[path[-1]] = edit["value"]
    recipe = recipe_from_config(config_with_options(config, damage["options"]), folder / "tiny.py")
    tokens_json(recipe)


def _recipe_texts(base: Path) -> st.SearchStrategy[Any]:
    lines = st.sampled_from(
        ["_base_ = 'tiny.py'", "_base_ = ['tiny.py', '../x.py']", "_base_ = __file__", "_base_ = 'made.py'", "_base_ = 'e'",
         "with read_base(): pass", "reduction = dict(dtop=dict(prune={8: 4}))", "reduction = dict(dtop=dict(prune={**x}))",
         "x = " + "(" * 250, "x = " + "-" * 5000 + "1", "x = " + "9" * 5000, "'" * 3, "\ufeff", "\0", "\tx = 1\r\n y = 2",
         "_base_ = 'x\\0.py'", "_base_ = {[]: 1}", "_base_ = 'a" + "b" * 300 + ".py'", "# coding: utf-7"]
    )  # fmt: skip
    return st.fixed_dictionaries({"lines": st.lists(lines | st.text(max_size=20), max_size=4), "bytes": byte_edits})


def _read_recipe_text(damage: Any, folder: Path) -> None:
    """Its syntax alone: what follows executes it."""
    from edgeexport.config.inheritance import prune_keys_in_force, recipe_file

    text = "\n".join(damage["lines"]).encode(errors="surrogatepass")
    (folder / "made.py").write_bytes(
        text if damage["lines"] else apply_bytes((folder / "tiny.py").read_bytes(), damage["bytes"])
    )
    prune_keys_in_force(recipe_file(folder / "made.py"))


_COMMANDS = {
    "build": ["tiny.py --dry-run", "b --target cpu"], "inspect": ["b"], "lint": ["m.onnx"], "verify": ["b"],
    "run": ["b RGB.png"], "evaluate": ["b --data data --form onnxruntime"], "calibrate": ["tiny.py --data data"],
    "compare": ["b b"], "plugin list": ["lib.so"], "plugin test": ["lib.so"], "recipes": [""], "version": [""],
    "profile": ["b --duration 0.001 --warmUp 0 --iterations 1 --allow-unstable"],
}  # fmt: skip
# Longer than anybody waits for, if that is what is asked: --duration 1e9.
_TAKE_TIME = ("--duration", "--warmUp", "--iterations", "--percentile")


def _options(base: Path) -> st.SearchStrategy[Any]:
    import typer.main

    from edgeexport.cli.app import app

    tree: Any = typer.main.get_command(app)
    leaves: dict[str, list[str]] = {}
    for name in _COMMANDS:
        leaf = tree
        for word in name.split():
            leaf = leaf.commands[word]
        named = [parameter.opts[-1] for parameter in leaf.params if parameter.opts[0].startswith("-")]
        leaves[name] = [option for option in named if option != "--help"] or ["--json"]
    numbers = st.sampled_from(["0", "-1", "nan", "-inf", "1e-320", "x", "", "0x10", "1_0", "٣", "-0.0", "1e", " 1"])
    large = st.sampled_from(["1", "2", "99999999999999999999", "1e308", "inf", "100000", "2147483648"])
    texts = st.sampled_from(
        ["", ".", "..", "b", "data", "m.onnx", "/dev/null", "x" * 300, "a\nb", "[red]", "\udcff", "orin", "cpu", "gpu", "none",
         "auto", "fp16", "fixed", "ssh://", "ssh://a@b:0", "ssh://-oProxyCommand=x", "ssh://x:y@z", "a=1", "model.depth=2",
         "x=1,3,8,8", "x=0", "x=1,3,99999999999,8", "latency_p50_ms > 1.03*A", "1 > ", "a" * 50 + ">(", "parity.cosine<0.9",
         "e", "table.json", "tiny.py", "w.pth", "w.safetensors", "../out", "sha256", "0" * 64]
    )  # fmt: skip
    return st.sampled_from(list(_COMMANDS)).flatmap(
        lambda name: st.fixed_dictionaries(
            {
                "command": st.just(name),
                "words": st.sampled_from(_COMMANDS[name]),
                "options": st.lists(
                    st.sampled_from(leaves[name]).flatmap(
                        lambda option: st.tuples(
                            st.just(option), numbers if option in _TAKE_TIME else numbers | large | texts | texts
                        )
                    ),
                    min_size=1,
                    max_size=3,
                ),
            }
        )
    )


def _read_options(damage: Any, folder: Path) -> None:
    flags = [f"{name}={value}" if value else name for name, value in damage["options"]]
    command(*damage["command"].split(), *damage["words"].split(), *flags)


_NAMES = st.one_of(
    st.sampled_from(
        [
            "x" * 255,
            "x" * 256,
            "é" * 130,
            "-x",
            "--json",
            "a b",
            "a\nb",
            "a\tb",
            "[red]x[/]",
            "\x1b[2J",
            "\udcff",
            "\u202ex",
            "%s",
            "$(x)",
            "'",
            '"',
            "`x`",
            "{x}",
            "~",
            ".",
            "..",
            "a/../b",
            "con",
            "*",
            "x=1",
            "ssh:",
            " ",
            "\\",
            ":",
            "|",
            "<b>",
            "\udcc3\udc28",
        ]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=9),
)


def _names(base: Path) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {
            "name": _NAMES,
            "missing": st.booleans(),
            "command": st.sampled_from(
                ["run b N.png --out-dir o", "run b N.png --out-dir N", "lint N.onnx", "inspect N.onnx", "inspect N",
                 "compare N b", "compare b b --markdown N.md", "evaluate b --data N --form onnxruntime --out-dir o",
                 "evaluate b --data data --form onnxruntime --out-dir N", "build N.py --target cpu --dry-run",
                 "build N --target cpu", "build tiny.py --target cpu --dry-run --work-dir N", "verify b --data N",
                 "lint m.onnx --fix N --input-shape x=1,3,8,8", "plugin list N.so", "verify b --checkpoint N.pth",
                 "build tiny.py --target cpu --dry-run --checkpoint N.pth",
                 "evaluate b --data data --split N --form onnxruntime",
                 "evaluate tiny.py --data N --against dense --out-dir o", "evaluate b --data data --against N --out-dir o"]
            ),
        }
    )  # fmt: skip


def _read_names(damage: Any, folder: Path) -> None:
    words = [word.replace("N", damage["name"]) for word in damage["command"].split()]
    sources = {".png": "RGB.png", ".onnx": "m.onnx", ".py": "tiny.py", ".so": "lib.so", ".pth": "w.pth", "": "b"}
    written = {"--out-dir", "--markdown", "--fix", "--work-dir"}
    for before, plain, word in zip(["", *words], damage["command"].split(), words, strict=False):
        if "N" in plain and not damage["missing"] and before not in written:
            source = folder / sources[Path(plain).suffix]
            if before == "--data":
                source = folder / "data"
            # A name that the system refuses stays a name of nothing.
            with contextlib.suppress(OSError, ValueError):
                if (folder / word).resolve().parent == folder and not (folder / word).exists():
                    (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / word)
    command(
        *(
            word
            if word.startswith("--") and word in damage["command"]
            else f"./{word}"
            if word.startswith("-")
            else word
            for word in words
        )
    )


WORD_KINDS = [
    Kind("recipes", _recipes, _read_recipe, 150, ("tiny.py",)),
    Kind("recipe-texts", _recipe_texts, _read_recipe_text, 100, ("tiny.py",)),
    Kind(
        "options",
        _options,
        _read_options,
        30,
        ("b", "data", "e", "RGB.png", "m.onnx", "tiny.py", "lib.so", "table.json", "w.pth", "w.safetensors"),
    ),
    Kind("names", _names, _read_names, 30, ("b", "data", "RGB.png", "m.onnx", "tiny.py", "lib.so", "w.pth")),
]
