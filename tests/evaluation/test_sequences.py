"""A choice that is kept for the images behind it: which images each choice serves, and what does not divide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import evaluated, photo_of, write_pairs
from shared_builds import SharedBuilds
from shared_cases import SEPARATE_RECIPE

from edgeexport.bundle import open_bundle
from edgeexport.commands.run import predict_images
from edgeexport.errors import BundleError, UsageError
from edgeexport.evaluation.dataset import LeftOut, Sample, SegmentationFolder, check_sequences
from edgeexport.evaluation.executions import ReusedPolicyExecution
from edgeexport.pictures.predictor import Predictor


@pytest.fixture(scope="module")
def separate(builds: SharedBuilds) -> Path:
    return builds.bundle("separate.py", "cpu", text=SEPARATE_RECIPE)


def _folder(*names: str) -> SegmentationFolder:
    left_out: tuple[LeftOut, ...] = ()
    return SegmentationFolder(Path("d"), None, tuple(Sample(name, Path(name), None) for name in names), left_out, True)


def test_sequences_have_to_divide() -> None:
    folder = _folder("test/a/0", "test/a/1", "test/b/0", "test/b/1", "test/b/2", "test/b/3")
    check_sequences(folder, (1, 2))
    with pytest.raises(
        UsageError, match=r"--policy-every 4 \| the sequence test/a has 2 images, expected a multiple of 4"
    ):
        check_sequences(folder, (2, 4))
    with pytest.raises(UsageError, match=r"the sequence d has 1 images"):
        check_sequences(_folder("x"), (2,))


def test_every_image_is_predicted_with_the_choice_of_the_first_of_its_part(separate: Path) -> None:
    """Against the model alone, given that choice by hand."""
    bundle = open_bundle(separate)
    photos = [photo_of(seed) for seed in range(3)]
    found = ReusedPolicyExecution(bundle, 3).run(photos)
    each = Predictor(bundle, 0)
    (first,) = each.results(photos[:1])
    assert first.whole is not None and first.whole.tokens is not None
    runner = each.runner
    images = [np.asarray(photo.resize((128, 128)), np.uint8)[None, ..., ::-1] for photo in photos]
    choice = runner.chosen(images[0])  # type: ignore[attr-defined]
    own = [runner.chosen(image) for image in images]  # type: ignore[attr-defined]
    assert any(not np.array_equal(choice, other) for other in own[1:])  # or the test would show nothing
    for image, prediction in zip(images, found, strict=True):
        expected = runner.run(image, {"shared_windows": choice})["class_map"][0]
        assert np.array_equal(prediction.class_map, expected)
    policy = bundle.json("tokens.json")["policy_network"]["macs"]
    assert [item.cost.macs for item in found] == [found[0].cost.macs, *[found[0].cost.macs - policy] * 2]


def test_an_evaluation_has_a_row_for_every_number(separate: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_pairs(data, 4, num_classes=5)
    result = evaluated(
        separate, data=data, executions=("onnxruntime",), policy_every=(1, 2, 4), out_dir=tmp_path / "out"
    )
    assert list(result.executions) == ["onnxruntime", "onnxruntime, policy every 2", "onnxruntime, policy every 4"]
    assert result.primary_name == "onnxruntime"
    macs = [reached.macs_mean for reached in result.executions.values()]
    policy = open_bundle(separate).json("tokens.json")["policy_network"]["macs"]
    assert macs == [macs[0], macs[0] - policy / 2, macs[0] - policy * 3 / 4]
    again = evaluated(
        separate, data=data, executions=("onnxruntime",), policy_every=(1, 2, 4), out_dir=tmp_path / "out"
    )
    assert again.as_dict() == result.as_dict()


def test_what_has_no_policy_of_its_own_is_refused(tiny_bundle: Path, separate: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", 2)
    given = {"data": tmp_path / "data", "out_dir": tmp_path / "out", "policy_every": (2,)}
    with pytest.raises(
        UsageError, match=r"--policy-every 2 \| .* has its policy network, if any, inside the model's graph"
    ):
        evaluated(tiny_bundle, executions=("onnxruntime",), **given)
    with pytest.raises(UsageError, match=r"--policy-every 2 \| is of a bundle in ONNX Runtime"):
        evaluated(separate, executions=("fixed",), **given)


def test_run_keeps_a_choice_for_the_images_behind_it(separate: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(2)]
    for seed, path in enumerate(paths):
        photo_of(seed).save(path)
    each = predict_images(separate, paths, tmp_path / "each")
    kept = predict_images(separate, paths, tmp_path / "kept", policy_every=2)
    overlays = [[image.overlay.read_bytes() for image in found.images if image.overlay] for found in (each, kept)]
    assert overlays[0][0] == overlays[1][0] and overlays[0][1] != overlays[1][1]
    with pytest.raises(UsageError, match="expected 1 or more"):
        predict_images(separate, paths, tmp_path / "kept", policy_every=0)


def test_an_engine_of_the_model_alone_is_refused(separate: Path, tmp_path: Path) -> None:
    """engine.json of a device may have been damaged on the way; what is there has both."""
    import json
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(separate, copy)
    record = json.loads((copy / "engine.json").read_text())
    assert list(record["files"]) == ["engine.onnx", "engine.policy.onnx"] and record["policy"]["graph"] == "policy.onnx"
    del record["policy"]
    (copy / "engine.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="lists no engine of the policy network"):
        Predictor(open_bundle(copy), 0, "auto")
