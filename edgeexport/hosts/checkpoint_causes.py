"""Why a checkpoint does not fit a model, as far as keys and shapes tell: what a message offers as its remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Misfit", "likely_cause"]

_UNKNOWN = "likely cause: the model in the recipe is not the one that was trained"


@dataclass(frozen=True)
class Misfit:
    """What differs between a checkpoint and a model.

    Attributes:
        given, wanted: Shape by key, of the checkpoint (without ``module.``) and of the model.
        missing: Keys that the model needs and the checkpoint lacks.
        unexpected: Keys of the checkpoint that have no place in the model.
        wrong: Keys of both, of different shapes.
    """

    given: Mapping[str, tuple[int, ...]]
    wanted: Mapping[str, tuple[int, ...]]
    missing: Sequence[str]
    unexpected: Sequence[str]
    wrong: Sequence[str]


def likely_cause(misfit: Misfit) -> str:
    """The most likely cause and its remedy, by the family of the model."""
    prefix = _prefix(misfit)
    if prefix:
        return f"likely cause: the keys begin with {prefix!r}; save those of this model without it"
    if any(key.startswith("blocks.") for key in misfit.wanted):
        return _timm(misfit)
    if any(key.startswith("attn1.") for key in misfit.wanted):
        return "likely cause: not a Stable-Diffusion block, whose keys are norm1.*, attn1.*, norm2.*, attn2.*, norm3.*, ff.*"
    return _segvit(misfit)


def _prefix(misfit: Misfit) -> str:
    """What stands ahead of every missing key in the checkpoint; empty if nothing does."""
    if not misfit.missing or misfit.wrong:
        return ""
    first = misfit.missing[0]
    for key in misfit.unexpected:
        prefix = key.removesuffix(first)
        if prefix != key and prefix.endswith(".") and all(prefix + name in misfit.given for name in misfit.missing):
            return prefix
    return ""


def _segvit(misfit: Misfit) -> str:
    missing, unexpected, wrong = misfit.missing, misfit.unexpected, misfit.wrong
    bias = "backbone.patch_embed.projection.bias"
    if [bias] in (missing, unexpected) and not wrong:
        value = bias in unexpected
        return (
            f"likely cause: mmseg versions differ in the patch embedding's bias; set model.backbone.patch_bias={value}"
        )
    if missing and all(key.startswith("policy_net.") for key in missing):
        return "likely cause: no policy network in this checkpoint; set reduction.cts.policy_checkpoint"
    if any(key.startswith("blocks.") for key in misfit.given):
        return "likely cause: a timm checkpoint; convert its keys to mmseg's (backbone.layers.<i>...)"
    if missing and all(key.startswith("auxiliary_head.") for key in missing):
        return "likely cause: trained without DToP's auxiliary heads; remove model.auxiliary_head and reduction.dtop"
    if any(key.startswith("backbone.pos_embed") for key in wrong):
        return "likely cause: another training size; set model.backbone.img_size to the size it was trained at"
    if wrong:
        return "likely cause: another model size or number of classes than model states"
    return _UNKNOWN


def _timm(misfit: Misfit) -> str:
    missing, unexpected, wrong, given = misfit.missing, misfit.unexpected, misfit.wrong, misfit.given
    if any(key.startswith("backbone.") for key in given):
        return "likely cause: an mmsegmentation checkpoint; give one in timm's key names"
    if any(key.startswith("decoder") for key in unexpected):
        return "likely cause: a pre-training checkpoint of MAE, which has no classifier; give the fine-tuned one"
    if "storage_tokens" in unexpected:
        return "likely cause: a DINOv3 checkpoint; choose model.name to match, such as 'vit_small_patch16_dinov3'"
    size = _other_size(misfit)
    if size:
        return size
    if any("dist" in key for key in (*missing, *unexpected)):
        has = "has" if any("dist" in key for key in unexpected) else "lacks"
        return f"likely cause: the checkpoint {has} a distillation token; choose model.name to match"
    parts = _other_parts(misfit)
    if parts:
        causes, settings = zip(*parts, strict=True)
        return f"likely cause: {', '.join(causes)}; set {', '.join(settings)}"
    fc1 = next((key for key in wrong if key.endswith("mlp.fc1.weight")), None)
    if fc1 is not None and given[fc1][1:] == misfit.wanted[fc1][1:]:
        hidden, columns = given[fc1]
        return f"likely cause: another size of the MLPs; set model.mlp_ratio={hidden / columns:g}"
    classes = any(key.startswith("head") for key in wrong)
    head, width = given.get("head.weight", ()), misfit.wanted.get("head.weight", ())
    if classes and len(head) == len(width) == 2 and head[1] == 2 * width[1]:
        return (
            "likely cause: its classifier reads the class token and the mean of the patches, which timm's does not; "
            "give the encoder alone, and set model.num_classes=0"
        )
    if any(key.startswith("pos_embed") for key in wrong):
        further = ", and model.num_classes to its number of classes" if classes else ""
        return f"likely cause: another training size; set model.img_size to the size it was trained at{further}"
    if classes and all(key.startswith("head") for key in wrong):
        return "likely cause: another number of classes; set model.num_classes"
    if missing and not wrong and all(key.startswith("head") for key in missing):
        return "likely cause: a checkpoint without a classifier; give a fine-tuned one, or set model.num_classes=0 for features"
    return _UNKNOWN


# Part of a key -> what a model with such keys has, what to set where the checkpoint has it, and where it lacks it.
_PARTS = {
    "ls1.gamma": ("LayerScale", "model.init_values=1e-5", "model.init_values=None"),
    "attn.q_norm.": ("norms of queries and keys", "model.qk_norm=True", "model.qk_norm=False"),
    "norm_pre.": ("a norm ahead of the blocks", "model.pre_norm=True", "model.pre_norm=False"),
    "attn.qkv.bias": ("biases of queries, keys and values", "model.qkv_bias=True", "model.qkv_bias=False"),
    "attn.proj.bias": ("biases of projections", "model.proj_bias=True", "model.proj_bias=False"),
    "attn.norm.": ("a norm in the attention", "model.scale_attn_norm=True", "model.scale_attn_norm=False"),
    "mlp.norm.": ("a norm in the MLP", "model.scale_mlp_norm=True", "model.scale_mlp_norm=False"),
    "attn_pool.": ("pooling by attention", "model.global_pool='map'", "model.global_pool to another way"),
    "cls_token": ("a class token", "model.class_token=True", "model.class_token=False"),
}


def _other_parts(misfit: Misfit) -> list[tuple[str, str]]:
    """Parts that one of the two has alone: cause, and what to set."""
    missing, unexpected = misfit.missing, misfit.unexpected
    found = []
    for part, (name, on, off) in _PARTS.items():
        if any(part in key for key in unexpected):
            found.append((f"the checkpoint has {name}", on))
        elif any(part in key for key in missing):
            found.append((f"the checkpoint lacks {name}", off))
    if "reg_token" in (*missing, *unexpected, *misfit.wrong):
        count = misfit.given["reg_token"][1] if "reg_token" in misfit.given else 0
        found.append((f"the checkpoint has {count} register tokens", f"model.reg_tokens={count}"))
    if "fc_norm.weight" in (*missing, *unexpected) and not any("attn_pool" in key for key in unexpected):
        pool = "avg" if "fc_norm.weight" in unexpected else "token"
        found.append(("another pooling than at training", f"model.global_pool={pool!r}"))
    return found


def _other_size(misfit: Misfit) -> str:
    """Width, channels or patches of a timm host, or its depth; empty if they agree."""
    key = "patch_embed.proj.weight"
    given, wanted = misfit.given.get(key, ()), misfit.wanted.get(key, ())
    if len(given) == len(wanted):
        for axis, what in ((0, "embed_dim"), (1, "in_chans"), (-1, "patch_size")):
            if given and given[axis] != wanted[axis]:
                difference = f"the checkpoint has {what} {given[axis]}, the model {wanted[axis]}"
                return f"likely cause: another model: {difference}; choose model.name or set model.{what} to match"
    depths = [_blocks(shapes) for shapes in (misfit.given, misfit.wanted)]
    if depths[0] and depths[0] != depths[1]:
        difference = f"the checkpoint has {depths[0]} blocks, the model {depths[1]}"
        return f"likely cause: another model: {difference}; choose model.name or set model.depth to match"
    return ""


def _blocks(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
