"""A recipe's ``model = dict(type='decoder', folder=... | config=...)`` and ``input = dict(prompt, new_tokens, images)``.

The model is described by a Hugging Face config, from the folder's config.json or given in the recipe; both the published
form (everything of the language model at the top) and that of transformers 5 (``text_config``, ``rope_parameters``) are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexport.config.place import Place
from edgeexport.config.values import MOST_LAYERS, choice, integer, mapping, number, pair, sequence, string
from edgeexport.documents.hugging_face import LANGUAGE_MODEL_CONFIG
from edgeexport.documents.reading import read_document
from edgeexport.errors import CheckpointError
from edgeexport.hosts.decoder.spec import DecoderSpec, TextSpec, VisionSpec
from edgeexport.ops.cache_update import FORMS

__all__ = ["ARCHITECTURES", "decoder_from_config", "folder_of", "model_config"]

ARCHITECTURES = ("llama", "qwen2", "qwen2_5_vl")
_LARGEST = 1 << 20
_INPUT_KEYS = ("images", "new_tokens", "prompt")


def folder_of(value: Mapping[str, object], place: Place, base: Path) -> Path | None:
    """The Hugging Face folder that ``model`` names, absolute; None with ``config``.

    Raises:
        RecipeError: Neither or both are given.
        CheckpointError: There is no such folder, or it lacks config.json or weights.
    """
    if ("folder" in value) == ("config" in value):
        raise place.error(
            value, "expected either folder or config", "folder='path', or config=dict(model_type=..., ...)"
        )
    if "folder" not in value:
        return None
    folder = base / string(value["folder"], place.at("folder"))
    if not (folder / "config.json").is_file():
        problem = "is no folder of Hugging Face transformers: it has no config.json"
        raise CheckpointError(str(folder), problem, "give the folder that holds config.json and *.safetensors")
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(str(folder), "has no weights, expected *.safetensors", "copy them into the folder")
    return folder


def model_config(value: Mapping[str, object], place: Place, base: Path) -> tuple[Mapping[str, Any], Place]:
    """The Hugging Face config, and where it stands."""
    folder = folder_of(value, place, base)
    if folder is None:
        at = place.at("config")
        config = value["config"]
        if not isinstance(config, Mapping):
            raise at.error(config, "expected a dict", "config=dict(model_type='qwen2', hidden_size=..., ...)")
        return config, at
    return read_document(folder / "config.json", LANGUAGE_MODEL_CONFIG), Place(str(folder / "config.json"))


def decoder_from_config(value: object, given_input: object, place: Place, base: Path) -> DecoderSpec:
    """Validates ``model`` and ``input`` of a recipe at ``place``; ``base`` is the recipe's folder.

    Raises:
        RecipeError: A key is missing or unknown, a value has the wrong type or range, or the architecture is another.
        CheckpointError: See `folder_of`.
    """
    at = place.at("model")
    entries = mapping(value, at, ("cache_update", "config", "folder", "type"))
    config, where = model_config(entries, at, base)
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES:
        raise where.at("model_type").error(
            architecture, "unsupported architecture", f"known: {', '.join(ARCHITECTURES)}"
        )
    inner = config.get("text_config") or config
    text = _text(inner, where if inner is config else where.at("text_config"), str(architecture), config)
    vision, image_token = None, None
    if architecture == "qwen2_5_vl":
        if not isinstance(config.get("vision_config"), Mapping):
            raise where.missing("vision_config", "the vision tower's config")
        vision = _vision(config["vision_config"], where.at("vision_config"), text.width)
        image_token = integer(config.get("image_token_id", 151655), where.at("image_token_id"), 0, text.vocabulary - 1)
    form = choice(entries.get("cache_update", "operators"), at.at("cache_update"), FORMS)
    prompt, new_tokens, grids = _input(given_input, place.at("input"), vision)
    return DecoderSpec(
        type=str(entries["type"]),
        architecture=str(architecture),
        text=text,
        vision=vision,
        image_token=image_token,
        prompt=prompt,
        new_tokens=new_tokens,
        grids=grids,
        cache_update=form,
    )


def _text(config: Mapping[str, Any], place: Place, architecture: str, outer: Mapping[str, Any]) -> TextSpec:
    def whole(key: str, default: int | None = None, most: int = _LARGEST) -> int:
        value = config.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            raise place.missing(key, f"{key} as transformers' config has it")
        return integer(value, place.at(key), 1, most)

    heads, width = whole("num_attention_heads"), whole("hidden_size")
    kv_heads = whole("num_key_value_heads", heads)
    if heads % kv_heads:
        raise place.at("num_key_value_heads").error(kv_heads, f"does not divide num_attention_heads = {heads}")
    if config.get("head_dim") is None and width % heads:
        raise place.at("num_attention_heads").error(heads, f"does not divide hidden_size = {width}")
    if config.get("use_sliding_window"):
        raise place.at("use_sliding_window").error(
            True, "unsupported: attention in a sliding window", "use another model"
        )
    choice(config.get("hidden_act", "silu"), place.at("hidden_act"), ("silu",))
    size = whole("head_dim", width // heads)
    theta, sections = _rope(config, place, size, architecture == "qwen2_5_vl")
    epsilon = 1e-5 if architecture == "qwen2_5_vl" else 1e-6  # transformers' own, where a config is silent
    tied = outer.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
    return TextSpec(
        layers=whole("num_hidden_layers", most=MOST_LAYERS),
        width=width,
        hidden=whole("intermediate_size"),
        query_heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        vocabulary=whole("vocab_size"),
        rope_theta=theta,
        norm_epsilon=number(config.get("rms_norm_eps", epsilon), place.at("rms_norm_eps")),
        qkv_bias=architecture != "llama" or bool(config.get("attention_bias", False)),
        output_bias=architecture == "llama" and bool(config.get("attention_bias", False)),
        tied=bool(tied),
        sections=sections,
    )


def _rope(
    config: Mapping[str, Any], place: Place, size: int, multimodal: bool
) -> tuple[float, tuple[int, int, int] | None]:
    """Base of the frequencies, and M-RoPE's sections."""
    key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
    rope = config.get(key) or {}
    at = place.at(key)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "mrope"):
        raise at.error(kind, "unsupported: scaled rotary positions", "supported: 'default' and 'mrope'")
    silent = 1e6 if multimodal else 1e4
    theta = number(rope.get("rope_theta", config.get("rope_theta", silent)), at)
    if not multimodal:
        return theta, None
    values = sequence(rope.get("mrope_section", [16, 24, 24]), at.at("mrope_section"), 3)
    time, row, column = (integer(item, at.at("mrope_section").at(n), 0) for n, item in enumerate(values))
    if time + row + column != size // 2:
        raise at.at("mrope_section").error(
            values, f"adds up to {time + row + column}, a head has {size // 2} frequencies"
        )
    return theta, (time, row, column)


def _vision(config: Mapping[str, Any], place: Place, text_width: int) -> VisionSpec:
    def whole(key: str, default: int) -> int:
        return integer(config.get(key, default), place.at(key), 1, _LARGEST)

    width, heads = whole("hidden_size", 1280), whole("num_heads", 16)
    if width % (4 * heads):
        raise place.at("num_heads").error(heads, f"hidden_size = {width} is no multiple of 4 x num_heads")
    out_width = whole("out_hidden_size", text_width)
    if out_width != text_width:
        raise place.at("out_hidden_size").error(
            out_width, f"differs from the language model's hidden_size = {text_width}"
        )
    patch, merge, window = whole("patch_size", 14), whole("spatial_merge_size", 2), whole("window_size", 112)
    if window < patch * merge:
        raise place.at("window_size").error(window, f"smaller than {merge} patches of {patch} pixels")
    layers = integer(config.get("depth", 32), place.at("depth"), 1, MOST_LAYERS)
    at = place.at("fullatt_block_indexes")
    whole_layers = sequence(config.get("fullatt_block_indexes", [7, 15, 23, 31]), at)
    rope = config.get("rope_parameters") or {}
    return VisionSpec(
        layers=layers,
        width=width,
        hidden=whole("intermediate_size", 3420),
        heads=heads,
        out_width=out_width,
        channels=integer(config.get("in_channels", config.get("in_chans", 3)), place.at("in_channels"), 3, 3),
        patch=patch,
        frames=whole("temporal_patch_size", 2),
        merge=merge,
        window=window,
        whole=tuple(integer(item, at.at(n), 0, layers - 1) for n, item in enumerate(whole_layers)),
        rope_theta=number(rope.get("rope_theta", 10000.0), place.at("rope_parameters")),
    )


def _input(value: object, place: Place, vision: VisionSpec | None) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """``prompt``, ``new_tokens`` and the grids of ``images``, which are given in pixels (height, width)."""
    config = mapping(value, place, _INPUT_KEYS)
    if "prompt" not in config:
        raise place.missing("prompt", "prompt=256, the places of a prompt")
    prompt = integer(config["prompt"], place.at("prompt"), 1, _LARGEST)
    new_tokens = integer(config.get("new_tokens", 64), place.at("new_tokens"), 1, _LARGEST)
    at = place.at("images")
    images = sequence(config.get("images", ()), at)
    if vision is None:
        if images:
            raise at.error(images, "the model reads text alone", "leave it out")
        return prompt, new_tokens, ()
    if not images:
        raise place.missing("images", "images=[(224, 224)], height and width of each image of a prompt")
    step = vision.patch * vision.merge
    grids = []
    for n, image in enumerate(images):
        height, width = pair(image, at.at(n))
        if height % step or width % step:
            raise at.at(n).error(
                image, f"expected multiples of {step}: {vision.merge} patches of {vision.patch} pixels"
            )
        grids.append((height // vision.patch, width // vision.patch))
    visual = sum(rows * columns for rows, columns in grids) // vision.merge**2
    if visual >= prompt:
        raise place.at("prompt").error(
            prompt, f"the images alone have {visual} tokens", "use a longer prompt or smaller images"
        )
    return prompt, new_tokens, tuple(grids)
