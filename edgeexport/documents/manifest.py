"""manifest.json: what a bundle was built from, what goes in and out, and what was checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta
from typing_extensions import Required, TypedDict

from edgeexport.documents.kernels import Pays
from edgeexport.documents.limits import (
    Batch,
    Colour,
    Count,
    Digest,
    ElementCount,
    Figure,
    Line,
    Name,
    RelativePath,
    Side,
    Text,
)
from edgeexport.documents.reading import Inconsistent, Kind

__all__ = ["ANY_MANIFEST", "MANIFEST", "MANIFEST_SCHEMA", "Manifest", "Tensor"]

MANIFEST_SCHEMA = "edgeexport.bundle/1"

_INPUT_BYTES, _OUTPUT_BYTES = 1 << 30, 1 << 32
_RECIPE_NUMBER = 1e6  # a width, a number of blocks; seeds are any number
_BYTES = {"uint8": 1, "bool": 1, "int32": 4, "int64": 8, "float16": 2, "float32": 4, "float64": 8}

Shape = Annotated[list[ElementCount], Meta(max_length=8)]
DType = Literal["uint8", "bool", "int32", "int64", "float16", "float32", "float64"]


class Preprocess(TypedDict):
    """Normalisation in the graph."""

    mean: tuple[Figure, Figure, Figure]
    std: tuple[Figure, Figure, Figure]
    bgr_to_rgb: bool


class Crop(TypedDict):
    """How a photograph is brought to the input's size."""

    pct: Annotated[float, Meta(gt=0, le=1)]
    mode: Literal["center", "squash", "pad"]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Tensor(TypedDict):
    """A value of the graph."""

    name: Name
    dtype: DType
    shape: Shape


class Input(TypedDict, total=False):
    """The first input; bundles of the first version have neither sizes nor channels."""

    name: Name
    dtype: DType
    shape: Required[Annotated[list[ElementCount], Meta(min_length=3, max_length=5)]]
    preprocess: Required[Preprocess | None]
    height: Side
    width: Side
    num_channels: Annotated[int, Meta(ge=1, le=2**15)]
    frames: Batch | None
    context: tuple[Side, Side] | None
    crop: Crop | None
    channels: Literal["RGB", "BGR"]


class Weights(TypedDict, total=False):
    """Where the weights are from."""

    origin: Line
    seed: int | None
    file: Line | None
    sha256: Line | None
    policy_file: Line | None
    policy_sha256: Line | None
    statement: Text


class Grid(TypedDict):
    """Patches; ``patch_size`` is 0 for positions of a latent."""

    rows: Side
    columns: Side
    patch_size: Annotated[int, Meta(ge=0, le=2**15)]


class Pruning(TypedDict):
    """``k`` tokens leave after a block."""

    block: Annotated[int, Meta(ge=1, le=2**15)]
    k: ElementCount


class Merge(TypedDict, total=False):
    """A block that merges, with its `edgeexport.ops.match_tables.MatchLayout`."""

    block: Annotated[int, Meta(ge=1, le=2**15)]
    raster: bool
    dense: Line | None
    kind: Line
    tokens: ElementCount
    prefix: ElementCount
    r: ElementCount
    columns: ElementCount
    window: ElementCount


_Edges = Annotated[list[Annotated[int, Meta(ge=0, le=2**15)]], Meta(min_length=1, max_length=4096)]


class WindowGrid(TypedDict):
    """Windows that slide over an image: (height, width), and their upper and left edges; all in pixels."""

    size: tuple[Side, Side]
    rows: _Edges
    columns: _Edges


class LargeValue(TypedDict):
    """A float16 value, by the node that computes it, and its largest magnitude on the test images."""

    node: Line
    largest: Annotated[float, Meta(ge=0)]


class Check(TypedDict, total=False):
    """One check of the build; each has some of these."""

    status: Line
    form: Line
    nodes: Count
    comparisons: Count
    version: Line | None
    reason: Text | None
    graph: Line
    precision: Line
    compute_capability: Line | None
    plugins: bool
    deployed_graph: bool
    candidates: Count
    uncertified_pixels: Count
    candidates_needed: Count | None
    images: Count | Annotated[list[Line], Meta(max_length=4096)]
    half_nodes: Count
    casts: Count
    half_weights: Count
    subnormal_weights: Count
    zeroed_weights: Count
    limit: Annotated[float, Meta(gt=0)]
    observed: Count
    largest: Annotated[list[LargeValue], Meta(max_length=4096)]


class PluginLibrary(TypedDict, total=False):
    """The compiled plugins in the bundle, or why there are none."""

    status: Line
    reason: Text
    library: Line | None
    architectures: list[ElementCount]
    tensorrt_headers: Line | None
    cuda: Line | None
    machine: Line | None
    source_hash: Line | None


class Reductions(TypedDict, total=False):
    """A recipe's ``reduction``."""

    dtop: dict[str, Any] | None
    cts: dict[str, Any] | None


class HeadText(TypedDict, total=False):
    """A segmenter's final head."""

    num_classes: Annotated[int, Meta(ge=1, le=2**16)]


class ModelText(TypedDict, total=False):
    """A recipe's ``model``; a family that has no head of that name has none."""

    decode_head: HeadText


class RecipeText(TypedDict, total=False):
    """The recipe, resolved; validated as a recipe (`edgeexport.recipe.validation`) where a model is made from it."""

    model: ModelText
    reduction: Reductions | None


class Policy(TypedDict):
    """The policy network as a graph of its own: what it gives out, an input of the model's graph."""

    output: Tensor


class Graph(TypedDict, total=False):
    """One of several graphs: ``NAME.onnx`` and ``NAME.trt.onnx``; ``macs`` of its products, ``bytes`` that its nodes move."""

    name: Required[Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,31}$")]]
    inputs: Required[Annotated[list[Tensor], Meta(min_length=1, max_length=4096)]]
    outputs: Required[Annotated[list[Tensor], Meta(min_length=1, max_length=8192)]]
    opset: Required[Annotated[int, Meta(ge=1, le=2**10)]]
    macs: Required[Annotated[int, Meta(ge=0, le=2**62)]]
    bytes: Annotated[int, Meta(ge=0, le=2**62)]
    weight_bytes: Required[Annotated[int, Meta(ge=0, le=2**62)]]


_Size = Annotated[int, Meta(ge=1, le=2**20)]
_Extent = Annotated[int, Meta(ge=0, le=2**15)]
_Grids = Annotated[list[tuple[_Size, _Size]], Meta(max_length=256)]
_Token = Annotated[int, Meta(ge=0, le=2**31)]


class Prompt(TypedDict):
    """Of a language model: see `edgeexport.inputs.prompt_facts.PromptFacts`."""

    architecture: Line
    length: _Size
    new_tokens: _Size
    slots: _Size
    layers: Annotated[int, Meta(ge=1, le=1024)]
    query_heads: _Size
    kv_heads: _Size
    head_size: _Size
    vocabulary: _Size
    axes: Literal[1, 3]
    image_token: _Token | None
    grids: _Grids
    patch: _Extent
    frames: _Extent
    merge: Annotated[int, Meta(ge=1, le=64)]
    end_tokens: Annotated[list[_Token], Meta(max_length=256)]
    flow: Annotated[list[bool], Meta(max_length=1024)]
    cache_update: Literal["operators", "tensor_scatter"]


class CacheCost(TypedDict):
    """A budget and what the cache costs by it (`edgeexport.cost.cache.CacheCost`)."""

    share: Annotated[float, Meta(gt=0, le=1)]
    slots: _Size
    cache_bytes: Annotated[int, Meta(ge=0, le=2**62)]
    predicted_ms: Annotated[float, Meta(ge=0)] | None


class Manifest(TypedDict, total=False):
    """What stands in every manifest is required; the rest came with later versions, or is asked for where it is needed."""

    schema: Required[str]
    name: Required[Name]
    description: Text | None
    edgeexport: Line
    recipe: RecipeText
    weights: Weights
    target: Line
    precision: Literal["fp32", "fp16"]
    plugins: bool
    input: Input
    extra_inputs: Annotated[list[Tensor], Meta(max_length=16)]
    outputs: Annotated[list[Tensor], Meta(min_length=1, max_length=256)]
    inner_outputs: Annotated[list[Tensor], Meta(max_length=4096)]
    graphs: Annotated[list[Graph], Meta(min_length=1, max_length=64)]
    prompt: Prompt
    cache_costs: Annotated[list[CacheCost], Meta(max_length=64)]
    chat_template: Text
    grid: Grid
    windows: ElementCount
    window_grid: WindowGrid
    num_shared: ElementCount
    policy: Policy | None
    prune: Annotated[list[Pruning], Meta(max_length=4096)]
    merges: Annotated[list[Merge], Meta(max_length=4096)]
    classes: Annotated[list[Line], Meta(max_length=2**16)]
    palette: Annotated[list[Colour], Meta(max_length=2**16)]
    checks: dict[Line, Check]
    pays: Pays | None
    versions: dict[Line, Line]
    plugin_library: PluginLibrary | None
    files: Required[Annotated[dict[RelativePath, Digest], Meta(max_length=4096)]]


def _check_graphs(manifest: Manifest) -> None:
    """Of a bundle that lists its graphs: names once each, and values no larger than any machine's."""
    for key in ("input", "inner_outputs"):
        if key not in manifest and "graphs" not in manifest:
            raise Inconsistent(key, "is missing, and there is no list of graphs")
    taken: set[str] = set()
    for number, graph in enumerate(manifest.get("graphs", ())):
        if graph["name"] in taken:
            raise Inconsistent(f"graphs[{number}].name", f"is {graph['name']!r}, twice")
        taken.add(graph["name"])
        for item in (*graph["inputs"], *graph["outputs"]):
            if math.prod(item["shape"]) * _BYTES[item["dtype"]] > _OUTPUT_BYTES:
                raise Inconsistent(
                    f"graphs[{number}]", f"{item['name']} is {item['shape']}, more than {_OUTPUT_BYTES >> 20} MiB"
                )
    prompt = manifest.get("prompt")
    if prompt is None:
        return
    if prompt["slots"] > prompt["length"]:
        raise Inconsistent("prompt.slots", f"is {prompt['slots']}, more than prompt.length")
    if any(rows % prompt["merge"] or columns % prompt["merge"] for rows, columns in prompt["grids"]):
        raise Inconsistent("prompt.grids", "are no multiples of prompt.merge")
    missing = {"embedding", "prefill", "decode"} - taken
    if missing:
        raise Inconsistent("graphs", f"lack {sorted(missing)[0]}, which a prompt needs")


def _check_windows(manifest: Manifest) -> None:
    """Windows lie in the image one behind the other, and are as many as are said."""
    slid, size = manifest.get("window_grid"), manifest["input"]
    if slid is None:
        return
    for side, length, extent in (("rows", "height", slid["size"][0]), ("columns", "width", slid["size"][1])):
        starts = slid[side]  # type: ignore[literal-required]
        if starts != sorted(set(starts)) or starts[-1] + extent > size.get(length, 2**15):
            raise Inconsistent(f"window_grid.{side}", f"do not lie one behind the other in input.{length}")
    if len(slid["rows"]) * len(slid["columns"]) != manifest.get("windows"):
        raise Inconsistent("windows", f"is {manifest.get('windows')}, not as many as window_grid has")


def _check(manifest: Manifest) -> None:
    _check_graphs(manifest)
    if "input" not in manifest:
        _check_recipe(manifest.get("recipe", {}), "recipe")
        return
    if "num_channels" not in manifest["input"] and len(manifest["input"]["shape"]) != 4:
        raise Inconsistent("input.shape", "has no four sizes, and there is no num_channels")
    lists = {key: manifest.get(key, []) for key in ("extra_inputs", "outputs", "inner_outputs")}
    named: list[tuple[str, Any, int]] = [("input", manifest["input"], _INPUT_BYTES)]
    named += [(f"{key}[{n}]", item, _OUTPUT_BYTES) for key, items in lists.items() for n, item in enumerate(items)]  # type: ignore[arg-type, var-annotated]
    for place, item, limit in named:
        if math.prod(item["shape"]) * _BYTES[item.get("dtype", "uint8")] > limit:
            raise Inconsistent(f"{place}.shape", f"is {item['shape']}, more than {limit >> 20} MiB")
    grid, size = manifest.get("grid"), manifest["input"]
    if grid is not None:
        for side, length in (("rows", "height"), ("columns", "width")):
            if grid[side] * max(grid["patch_size"], 1) > size.get(length, grid[side] * 2**15):  # type: ignore[literal-required]
                raise Inconsistent(f"grid.{side}", f"is {grid[side]}, more than fit into input.{length}")  # type: ignore[literal-required]
    _check_windows(manifest)
    for key in ("outputs", "inner_outputs"):
        for name, times in Counter(item["name"] for item in lists[key]).items():  # type: ignore[attr-defined]
            if times > 1:
                raise Inconsistent(key, f"name {name!r} twice")
    palette, classes = manifest.get("palette"), manifest.get("classes")
    if palette and classes and len(palette) < len(classes):
        raise Inconsistent("palette", f"has {len(palette)} colours for {len(classes)} classes")
    pays = manifest.get("pays")
    told = pays.get("policy") if pays is not None else None
    for number, row in enumerate(told["predicted"] if told is not None else ()):
        if told is not None and not row["every"].keys() >= {str(n) for n in told["every"]}:
            raise Inconsistent(f"pays.policy.predicted[{number}].every", f"lacks one of {told['every']}")
    policy = manifest.get("policy")
    if policy is not None and policy["output"] not in lists["extra_inputs"]:  # type: ignore[operator]
        raise Inconsistent("policy.output", "is none of extra_inputs")
    if policy is not None and "policy.onnx" not in manifest["files"]:
        raise Inconsistent("files", "lists no policy.onnx, which the policy needs")
    _check_recipe(manifest.get("recipe", {}), "recipe")


def _check_recipe(value: object, place: str) -> None:
    """It is validated as a recipe where it is used; here only that no number of it asks for more than any machine has."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ("seed", "embed_seed"):
                _check_recipe(item, f"{place}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_recipe(item, f"{place}[{number}]")
    elif isinstance(value, (int, float)) and abs(value) > _RECIPE_NUMBER:
        raise Inconsistent(place, f"is {value}, beyond {_RECIPE_NUMBER:.0f}")


class AnyManifest(TypedDict):
    """A manifest of any version."""

    schema: Line


MANIFEST: Kind[Manifest] = Kind(Manifest, MANIFEST_SCHEMA, check=_check)
ANY_MANIFEST: Kind[AnyManifest] = Kind(AnyManifest)
