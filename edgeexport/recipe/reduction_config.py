"""A SegViT's ``reduction``: tokens shared (CTS), pruned (DToP) or merged (ToMe), checked against model and input.

Every count is checked here, before any weight is loaded: all of them are constants of the graph to come.
"""

from __future__ import annotations

from pathlib import Path

from edgeexport.config.files import file_from_config
from edgeexport.config.place import Place
from edgeexport.config.values import integer, mapping
from edgeexport.hosts.segvit.spec import SegVitSpec
from edgeexport.inputs.spec import InputSpec
from edgeexport.recipe.schema import CtsSpec, DtopSpec, ReductionSpec
from edgeexport.reductions.alignment import aligned_num_shared, aligned_window_counts
from edgeexport.reductions.merge_config import REDUCTION_KEYS, MergeHost, merge_from_config

__all__ = ["POLICY_STRIDE", "reduction_from_config", "side_multiple"]

POLICY_STRIDE = 32  # pixels; the policy network scores one 32x32 window per output, that is 2x2 patches of 16


def side_multiple(value: object, patch: int) -> tuple[int, str]:
    """What both sides of the input must be multiples of under this ``reduction`` (not validated yet), and why.

    Returns:
        Pixels, and what they are.
    """
    if isinstance(value, dict) and value.get("cts") is not None and 2 * patch == POLICY_STRIDE:
        return POLICY_STRIDE, f"{POLICY_STRIDE}, the stride of CTS's policy network and two patches of {patch}"
    return patch, f"the patch size {patch}"


def reduction_from_config(
    value: object, place: Place, model: SegVitSpec, size: InputSpec, folder: Path
) -> ReductionSpec:
    """Validates ``reduction``; None or an empty dict is the dense model.

    Args:
        value: ``dict(cts=dict(num_shared, align_tokens, policy_checkpoint), dtop=dict(prune, protect_per_class))``, or
            ``dict(tome=dict(r, variant, ...))`` for merging around the blocks.
        place: Where it stands.
        model: The validated model.
        size: The validated input, whose sides fit `side_multiple`.
        folder: ``policy_checkpoint`` is relative to it.

    Raises:
        RecipeError: A key is unknown or a value has the wrong type; the patch size, a count or a block does not fit.
        CheckpointError: ``policy_checkpoint`` is missing.
    """
    config = mapping({} if value is None else value, place, REDUCTION_KEYS)
    patch = model.backbone.patch_size
    grid = (size.height // patch, size.width // patch)
    host = MergeHost(name="SegViT", depth=model.backbone.num_layers, grid=grid, variants=("tome", "sd"), pooling=None)
    merge = merge_from_config(config, place, host)
    tokens = grid[0] * grid[1]
    cts = dtop = None
    if config.get("cts") is not None:
        cts = _cts_from_config(config["cts"], place.at("cts"), patch, size, folder)
        tokens -= 3 * aligned_num_shared(tokens, tokens // 4, cts.num_shared, cts.align_tokens)
    if config.get("dtop") is not None:
        dtop = _dtop_from_config(config["dtop"], place.at("dtop"), model, tokens)
    return ReductionSpec(cts=cts, dtop=dtop, merge=merge)


def _cts_from_config(value: object, place: Place, patch: int, size: InputSpec, folder: Path) -> CtsSpec:
    config = mapping(value, place, ("align_tokens", "num_shared", "policy_checkpoint"))
    if "num_shared" not in config:
        raise place.missing("num_shared", "num_shared=103 (2x2 windows that share one token each)")
    at = place.at("num_shared")
    if 2 * patch != POLICY_STRIDE:
        raise place.error(
            value,
            f"CTS needs patches of {POLICY_STRIDE // 2} pixels, found patch_size = {patch}: the policy network scores "
            f"windows of {POLICY_STRIDE}x{POLICY_STRIDE} pixels, which must be 2x2 patches",
            "leave cts out",
        )
    num_patches = (size.height // patch) * (size.width // patch)
    num_windows = num_patches // 4
    num_shared = integer(config["num_shared"], at, minimum=0)
    if num_shared > num_windows:
        raise at.error(
            num_shared,
            f"exceeds the {num_windows} windows of 2x2 patches in {size.height}x{size.width} pixels",
            f"use 0 to {num_windows}",
        )
    align_tokens = integer(config.get("align_tokens", 8), place.at("align_tokens"), minimum=1)
    try:
        aligned_num_shared(num_patches, num_windows, num_shared, align_tokens)
    except ValueError as error:
        counts = aligned_window_counts(num_patches, num_windows, align_tokens)
        fitting = f"num_shared <= {counts[-1]}, or " if counts else ""
        raise at.error(num_shared, str(error), f"use {fitting}align_tokens=1") from None
    checkpoint = file_from_config(config.get("policy_checkpoint"), place.at("policy_checkpoint"), folder)
    return CtsSpec(num_shared=num_shared, align_tokens=align_tokens, policy_checkpoint=checkpoint)


def _dtop_from_config(value: object, place: Place, model: SegVitSpec, tokens: int) -> DtopSpec | None:
    """DToP with its counts checked against the ``tokens`` that enter block 1; None where it names no stage."""
    config = mapping(value, place, ("protect_per_class", "prune"))
    if model.decode_head.type != "PruneHead":
        raise place.error(
            value,
            f"needs PruneHead, found {model.decode_head.type}: tokens leave at auxiliary PruneHeads",
            "use type='EncoderDecoderPrune' with ViT_prune and PruneHead, or leave dtop out",
        )
    # A published host of DToP refuses a class token already; this states the rule for the method itself.
    if model.backbone.with_cls_token:
        raise place.error(value, "unsupported: DToP runs without a class token", "write with_cls_token=False")
    if "prune" not in config:
        raise place.missing("prune", "prune={block: tokens pruned after it}")
    prune = _prune_counts(config["prune"], place.at("prune"), model, tokens)
    protect = integer(config.get("protect_per_class", 5), place.at("protect_per_class"), minimum=0)
    return DtopSpec(prune=prune, protect_per_class=protect) if prune else None


def _prune_counts(value: object, place: Place, model: SegVitSpec, tokens: int) -> tuple[tuple[int, int], ...]:
    """(block, count) ascending, each count below the tokens entering its block."""
    available = [head.stages[0] for head in model.auxiliary_heads]
    listed = ", ".join(map(str, available)) or "none"
    if not isinstance(value, dict):
        raise place.error(value, "expected a dict of block: tokens pruned after it", "write prune={8: 464}")
    for block, count in value.items():
        at = place.at(block)
        if isinstance(block, bool) or not isinstance(block, int):
            raise at.error(count, f"a block is an integer, found {block!r}", f"blocks with an auxiliary head: {listed}")
        if block not in available:
            raise at.error(count, f"no auxiliary head reads block {block}", f"blocks with an auxiliary head: {listed}")
        integer(count, at, minimum=0)
    counts = sorted(value.items())
    for block, count in counts:
        if count >= tokens:
            exceeds = f"exceeds the {tokens} tokens" if count > tokens else f"leaves none of the {tokens} tokens"
            raise place.at(block).error(count, f"{exceeds} entering block {block}", f"use a value below {tokens}")
        tokens -= count
    return tuple(counts)
