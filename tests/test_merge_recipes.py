"""Every shipped recipe that merges tokens: built whole at a size that a test can afford, accounted at full size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from shared_builds import SharedBuilds
from shared_cases import SMALL_DIFFUSION_BLOCK, SMALL_DSM, CommandResult

from edgeexport.backends.onnxruntime import OnnxRuntimeRunner
from edgeexport.bundle import Bundle, open_bundle
from edgeexport.commands.build import build
from edgeexport.commands.run import predict_images
from edgeexport.commands.verify import verify_bundle
from edgeexport.errors import UsageError
from edgeexport.fixed.tokens import tokens_json
from edgeexport.inputs.photos import shipped_photos
from edgeexport.recipe import load_recipe, shipped_recipes

DEPTH = ["model.depth=3"]
SEGMENTER = [
    "model.backbone.num_layers=3",
    "model.backbone.out_indices=(0, 1, 2)",
    "model.decode_head.layers_per_decoder=1",
    "input.shape=(1, 3, 128, 128)",
    "model.backbone.img_size=(128, 128)",
    "reduction.tome.r=20",
]
# Recipe -> options that make it small, tokens of block 1, tokens at the end of the full recipe.
SMALL: dict[str, tuple[list[str], int, int]] = {
    "tome_vit_b": (DEPTH, 197, 41),
    "tome_vit_l_mae": ([*DEPTH, "reduction.tome.r=[90, 80, 20]"], 197, 7),  # the last block merges all that it can
    "tome_deit_s": (DEPTH, 197, 41),
    "tome_deit_ti": (DEPTH, 197, 41),
    "tome_deit_s_distilled": (DEPTH, 198, 42),
    "tome_video_vit_l": (["model.depth=2", "model.img_size=112", "input.shape=(1, 3, 16, 112, 112)"], 393, 38),
    "tome_audio_vit_b": (DEPTH, 513, 37),
    "tome_sd_block": ([], 4096, 4096),
    "tome_segvit": (SEGMENTER, 64, 1024),
    "dsm_deit_s": (SMALL_DSM, 197, 67),
    "dsm_vit_b": (SMALL_DSM, 197, 67),
}


def test_every_recipe_that_merges_is_here() -> None:
    shipped = {name.removesuffix(".py") for name, _ in shipped_recipes()}
    assert {name for name in shipped if name.startswith(("tome", "dsm"))} == set(SMALL)


@pytest.fixture
def built(builds: SharedBuilds) -> Callable[[str, str], Bundle]:
    """`built(recipe, target)`: its bundle at the small size, built once."""
    return lambda name, target: open_bundle(builds.bundle(f"{name}.py", target, options=SMALL[name][0]))


@pytest.mark.parametrize("name", list(SMALL))
def test_accounting_at_full_size(name: str) -> None:
    tokens = tokens_json(load_recipe(f"{name}.py"))
    assert tokens["blocks"][-1]["tokens_out"] == SMALL[name][2]
    assert 1.2 < tokens["totals"]["dense_over_reduced"] < 3


# The three with TensorRT-RTX stand for the families: a plain host, one whose last block keeps no candidate, windows.
WITH_TENSORRT = ("tome_deit_ti", "tome_vit_l_mae", "dsm_deit_s")
# What differs from another one in width alone; built at full size below.
WIDER = ("tome_vit_b", "tome_deit_s", "dsm_vit_b")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(
            name,
            "orin" if name in WITH_TENSORRT else "cpu",
            marks=[pytest.mark.slow] if name in WIDER else [],
        )
        for name in SMALL
        if name != "tome_sd_block"
    ],
)
def test_recipe_builds(name: str, target: str, built: Callable[[str, str], Bundle]) -> None:
    bundle = built(name, target)
    checks, comparisons = bundle.manifest["checks"], bundle.json("parity.json")["comparisons"]
    assert checks["parity"]["status"] == "passed", [item["reason"] for item in comparisons]
    assert {len(item["decisions"]) for item in comparisons} == {len(bundle.manifest["merges"])}
    assert len({tuple(item["images"]) for item in comparisons}) == 2
    if target == "orin":
        rtx = checks["tensorrt_rtx"]
        assert rtx["status"] == "passed" or (rtx["status"] == "not-run" and rtx["reason"])
    assert bundle.json("tokens.json")["blocks"][0]["tokens_in"] == SMALL[name][1]
    model = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    kinds = {node.op_type for node in model.graph.node}
    assert {"TokenMatch", "TokenMerge"} <= kinds
    assert not [node for node in model.graph.node if node.op_type.startswith("Scatter")] or "tome_segvit" in name
    plugin = onnx.load(bundle.path / "model.trt.onnx", load_external_data=False)
    attributes = {
        item.name: onnx.helper.get_attribute_value(item)
        for node in plugin.graph.node
        if node.op_type in ("TokenMatch", "TokenMatchMerge")
        for item in node.attribute
    }
    assert {"sources", "destinations", "taken", "left", "windows", "ascending", "plugin_version"} <= attributes.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tome_sd_block"])
def test_diffusion_block_builds(name: str, built: Callable[[str, str], Bundle]) -> None:
    bundle = built(name, "orin")
    manifest = bundle.manifest
    assert manifest["checks"]["parity"]["status"] == "passed"
    assert [item["name"] for item in (manifest["input"], *manifest["extra_inputs"])] == ["hidden_states", "context"]
    assert verify_bundle(bundle.path).status == "passed"


def test_small_diffusion_block_builds_and_verifies(builds: SharedBuilds, tmp_path: Path) -> None:
    bundle = open_bundle(builds.bundle("tome_sd_block.py", "cpu", options=SMALL_DIFFUSION_BLOCK))
    shapes = {item["name"]: item["shape"] for item in bundle.manifest["outputs"]}
    assert shapes == {"tokens": [2, 64, 32], "source": [2, 64], "size": [2, 32, 1]}
    assert bundle.manifest["checks"]["parity"]["status"] == "passed"
    comparisons = bundle.json("parity.json")["comparisons"]
    assert {item["check"] for item in comparisons if item["status"] == "passed"} == {
        "original against fixed",
        "fixed torch against exported graph",
        "batch against images one by one",
    }
    assert verify_bundle(bundle.path).status == "passed"
    with pytest.raises(UsageError) as caught:
        predict_images(bundle.path, shipped_photos()[:1], tmp_path / "out")
    assert caught.value.exit_code == 2


def test_run_draws_merged_regions(
    built: Callable[[str, str], Bundle], tmp_path: Path, edgeexport: Callable[..., CommandResult]
) -> None:
    bundle = built("tome_deit_ti", "orin").path
    photo = shipped_photos()[0]
    done = edgeexport("run", str(bundle), str(photo), "--out-dir", str(tmp_path))
    assert done.code == 0, done.err
    assert "197 -> 158 tokens" in done.out
    with Image.open(tmp_path / f"{photo.stem}_regions.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 100


def test_run_draws_regions_of_a_segmenter_too(built: Callable[[str, str], Bundle], tmp_path: Path) -> None:
    found = predict_images(built("tome_segvit", "cpu").path, shipped_photos()[:1], tmp_path)
    assert {path.name.rpartition("_")[2] for path in found.images[0].pictures} == {
        "overlay.png",
        "labels.png",
        "regions.png",
    }


def test_verify_again_from_the_bundle_alone(built: Callable[[str, str], Bundle]) -> None:
    result = verify_bundle(built("dsm_deit_s", "orin").path)
    assert result.status == "passed"
    assert result.original_not_run == ""


def test_source_tracking_as_a_graph_output(tmp_path: Path) -> None:
    options = [*DEPTH, "extra_outputs=('source', 'size')"]
    result = build("tome_deit_ti.py", "cpu", cfg_options=options, work_dir=tmp_path / "b")
    with np.load(result.bundle.path / "golden.npz") as golden:
        found = OnnxRuntimeRunner(result.bundle.path / "model.onnx").run(golden["case0/image"])
    assert found["source"].shape == (1, 197)
    counts = np.bincount(found["source"][0], minlength=158)
    np.testing.assert_array_equal(counts, found["size"][0, :, 0])
    assert found["source"][0, 0] == 0, "the class token stays first"


@pytest.mark.slow
def test_clip_of_all_its_tokens_builds(tmp_path: Path) -> None:
    result = build("tome_video_vit_l.py", "cpu", cfg_options=["model.depth=2"], work_dir=tmp_path / "b")
    assert result.bundle.manifest["checks"]["parity"]["status"] == "passed"
    assert result.bundle.json("tokens.json")["blocks"][0]["tokens_in"] == 1569


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["tome_deit_ti", "tome_deit_s", "tome_deit_s_distilled", "tome_vit_b", "dsm_deit_s", "dsm_vit_b", "tome_segvit"],
)
def test_recipe_builds_at_full_size(name: str, tmp_path: Path) -> None:
    result = build(f"{name}.py", "orin", work_dir=tmp_path / "b", plans=False)
    assert result.bundle.manifest["checks"]["parity"]["status"] == "passed"
    assert result.bundle.json("tokens.json")["blocks"][-1]["tokens_out"] == SMALL[name][2]
