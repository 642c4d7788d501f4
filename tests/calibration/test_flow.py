"""FlowMM's constants from images: rho per layer, which layers cross, and what a recipe has to give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from shared_cases import CommandResult

from edgeexport.calibration.flow import _layers

Run = Callable[..., CommandResult]
ADAPTIVE = "reduction.flowmm={'_delete_':True,'budget':0.2,'theta':0.3,'tau':0.5}"


def test_a_layer_crosses_by_its_mean_and_dissenters_are_counted() -> None:
    rho = np.array([[0.1, 0.5], [0.2, 0.1], [0.4, 0.6]])
    above = np.array([[[1, 2], [0, 0]], [[3, 2], [4, 4]], [[5, 9], [8, 8]]])
    low, high = _layers(rho, above, 0.3)
    assert (low.cross, low.otherwise, low.protect) == (False, 1, (3, 2))
    assert (high.cross, high.otherwise, high.protect) == (True, 1, (4, 4))


def test_flowmm_calibration_proposes_constants_that_a_recipe_takes(tmp_path: Path, edgeexport: Run) -> None:
    rng = np.random.default_rng(0)
    for n in range(2):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"{n}.png")
    asked = (
        "calibrate",
        "flowmm_qwen2_5_vl.py",
        "--data",
        str(tmp_path),
        "--flow",
        "--cfg-options",
        ADAPTIVE,
        "--json",
    )
    told = json.loads(edgeexport(*asked).out)
    assert told["samples"] == 2 and "random" in told["text"] and "random weights" in told["weights"]
    assert all(0 < layer["mean"] < 1 for layer in told["layers"])
    assert [layer["mean"] > 0.3 for layer in told["layers"]] == told["flow"]
    (tmp_path / "prompts.txt").write_text("what is this?\n")
    assert json.loads(edgeexport(*asked).out)["text"] == "1 lines of prompts.txt"
    from edgeexport.recipe.prompt import prompt_recipe

    constants = {"_delete_": True, "budget": 0.2, "flow": told["flow"], "protect": told["protect"]}
    recipe = prompt_recipe("flowmm_qwen2_5_vl.py", [f"reduction.flowmm={constants!r}"])
    assert recipe is not None
    recipe.require_fixed()


def test_a_recipe_without_theta_and_tau_is_refused(tmp_path: Path, edgeexport: Run) -> None:
    result = edgeexport("calibrate", "flowmm_qwen2_5_vl.py", "--data", str(tmp_path), "--flow")
    assert result.code == 2 and "theta and tau" in result.err
    result = edgeexport("calibrate", "tome_deit_s.py", "--data", str(tmp_path), "--flow")
    assert result.code == 2 and "language models" in result.err
