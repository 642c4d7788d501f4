"""Small Segmenters for tests, and the golden one with its policy logits given."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from shared_cases import GoldenCase
from torch import Tensor, nn

from edgeexport.fixed.model import FixedModel, fixed_from_model
from edgeexport.fixed.weights import model_from_recipe
from edgeexport.recipe.schema import Recipe
from edgeexport.recipe.validation import recipe_from_config
from edgeexport.reductions.cts_policy import PolicyNetwork

__all__ = ["GivenPolicy", "golden_fixed", "golden_recipe", "published_checkpoint"]


class GivenPolicy(nn.Module):
    """In place of a policy network: the logits of the golden data, whatever the image (of which the graph must know)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits + 0.0 * pixels[:, :1, :1, :1]


def published_checkpoint(case: GoldenCase, folder: Path) -> Path:
    """The golden weights with a policy network beside them: what the published CTS code saves."""
    torch.manual_seed(3)
    policy = {f"policy_net.{key}": value for key, value in PolicyNetwork().state_dict().items()}
    path = folder / "checkpoint.safetensors"
    save_file(load_file(case.checkpoint) | {key: value.contiguous() for key, value in policy.items()}, path)
    return path


def golden_recipe(case: GoldenCase, checkpoint: Path, *, batch: int, output: str = "scores") -> Recipe:
    encoder, side = case.config["encoder"], case.config["encoder"]["img_size"]
    width, heads = encoder["d_model"], encoder["n_heads"]
    config = {
        "model": {
            "type": "EncoderDecoder",
            "backbone": {
                "type": "VisionTransformer",
                "img_size": side,
                "patch_size": encoder["patch_size"],
                "embed_dims": width,
                "num_layers": encoder["n_layers"],
                "num_heads": heads,
                "final_norm": True,
                "patch_bias": True,
            },
            "decode_head": {
                "type": "SegmenterMaskTransformerHead",
                "in_channels": width,
                "num_classes": encoder["n_cls"],
                "num_layers": case.config["decoder_layers"],
                "num_heads": heads,
                "embed_dims": width,
            },
        },
        "checkpoint": str(checkpoint),
        "input": {"shape": (batch, 3, side, side)},
        "output": output,
        "reduction": {"cts": {"num_shared": case.config["num_shared"], "align_tokens": 1}},
    }
    return recipe_from_config(config, case.folder.absolute() / "config.json")


def golden_fixed(case: GoldenCase, folder: Path, *, output: str = "scores") -> FixedModel:
    """The fixed form with the golden policy logits, for the whole batch."""
    logits = torch.from_numpy(case.arrays["policy_logits"])
    recipe = golden_recipe(case, published_checkpoint(case, folder), batch=len(logits), output=output)
    model, origin = model_from_recipe(recipe)
    assert "published Segmenter code" in origin.statement
    model.policy_net = GivenPolicy(logits)
    return fixed_from_model(model, recipe)
