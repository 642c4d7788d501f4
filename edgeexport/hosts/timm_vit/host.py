"""A timm Vision Transformer as a host: logits, embedding or features, from timm's names and weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from edgeexport.config.place import Place
from edgeexport.cost.macs import BlockMacs, layer_norm_macs, patch_embedding_macs
from edgeexport.hosts.host import (
    MERGING_CONVENTION,
    NO_TAIL,
    ExitTokens,
    Head,
    Host,
    HostMacs,
    TailSpec,
    refuse_given,
    vit_macs,
)
from edgeexport.hosts.seeded import seed_plain_weights
from edgeexport.hosts.timm_vit.config import resolved_timm_model, timm_from_config
from edgeexport.hosts.timm_vit.input_config import timm_input_from_config
from edgeexport.hosts.timm_vit.model import timm_vit_from_spec
from edgeexport.hosts.timm_vit.named import normalisation_warning, timm_config_of_name
from edgeexport.hosts.timm_vit.spec import EMBEDDING, FEATURE_MAP, FEATURES, LOGITS, TimmVitSpec, tap_name
from edgeexport.hosts.timm_vit.taps import taps_from_config
from edgeexport.hosts.timm_vit.walk import PublishedTimmWalk, TimmVitWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import HostFacts

__all__ = ["TimmVitHost"]


class TimmVitHost(Host):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = ("timm",)
    outputs: ClassVar[tuple[str, ...]] = (LOGITS, EMBEDDING, FEATURES, FEATURE_MAP)
    counts_prefix: ClassVar[bool] = True
    convention: ClassVar[str] = MERGING_CONVENTION
    scopes: ClassVar[Mapping[str, str]] = {
        "pixels": "embedding",
        "embedding": "embedding",
        "blocks.#": "block_#",
        "classifier.norm": "final_norm",
        "classifier.restored": "restore",
        "classifier": "head",
    }

    def spec_from_config(self, value: object, place: Place) -> TimmVitSpec:
        """See `timm_from_config`."""
        return timm_from_config(value, place)

    def config_of_name(self, model: Mapping[str, object], place: Place) -> dict[str, object]:
        """See `timm_config_of_name`."""
        return timm_config_of_name(model, place)

    def warnings(self, spec: TimmVitSpec, size: InputSpec) -> tuple[str, ...]:
        """See `normalisation_warning`."""
        return normalisation_warning(spec, size)

    def resolved(self, given: dict[str, object], spec: TimmVitSpec) -> dict[str, object]:
        """See `resolved_timm_model`."""
        return resolved_timm_model(given, spec)

    def patch_size(self, spec: TimmVitSpec) -> int:
        """Of the embedding."""
        return spec.patch_size

    def input_from_config(self, value: object, place: Place, spec: TimmVitSpec, sides: tuple[int, str]) -> InputSpec:
        """See `timm_input_from_config`; the model fixes its size."""
        return timm_input_from_config(value, place, spec)

    def tail_from_config(self, value: object, place: Place, spec: TimmVitSpec) -> TailSpec:
        """There is none."""
        refuse_given(value, place, "a tail makes class maps, and this model gives none")
        return NO_TAIL

    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: TimmVitSpec
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """There is none."""
        refuse_given(config.get("palette"), place.at("palette"), "there is no map of classes to colour")
        return (), None

    def available_outputs(self, spec: TimmVitSpec) -> tuple[str, ...]:
        """Logits only of a model with a classifier."""
        return spec.available_outputs

    def tapped(self, spec: TimmVitSpec, value: object, place: Place) -> TimmVitSpec:
        """See `taps_from_config`."""
        taps, norm = taps_from_config(value, place, spec.num_layers)
        return replace(spec, taps=taps, tap_norm=norm)

    def feature_shapes(self, spec: TimmVitSpec, size: InputSpec) -> dict[str, tuple[int, ...]]:
        """Of embedding, features, map and taps."""
        tokens, grid = (size.batch, spec.num_tokens, spec.embed_dims), (size.batch, spec.embed_dims, *spec.grid)
        shapes = {EMBEDDING: (size.batch, spec.embed_dims), FEATURES: tokens, FEATURE_MAP: grid}
        shapes |= {tap_name(tap): grid if spec.taps_are_maps else tokens for tap in spec.taps}
        return {name: shape for name, shape in shapes.items() if name in spec.available_outputs}

    def always_given(self, spec: TimmVitSpec) -> tuple[str, ...]:
        """The taps."""
        return tuple(map(tap_name, spec.taps))

    def giving(self, spec: TimmVitSpec, outputs: Sequence[str]) -> TimmVitSpec:
        """Its own among them, and the taps."""
        asked = dict.fromkeys((outputs[0], *self.always_given(spec), *outputs[1:]))
        return replace(spec, outputs=tuple(name for name in asked if name in spec.available_outputs))

    def extra_outputs(self, spec: TimmVitSpec, output: str, tail: TailSpec) -> tuple[str, ...]:
        """Everything else that it can give."""
        return tuple(name for name in spec.available_outputs if name != output)

    def facts(self, spec: TimmVitSpec, size: InputSpec) -> HostFacts:
        """A classifier keeps tokens merged; where features are given out, those come back at the end."""
        return HostFacts(
            name="a feature extractor" if spec.gives_tokens else "a classifier",
            title="a timm ViT",
            depth=spec.num_layers,
            reads=spec.reads,
            grid=spec.grid,
            prefix=spec.num_prefix,
            embed_dims=spec.embed_dims,
            num_heads=spec.num_heads,
            image=(size.height, size.width),
            patch_size=spec.patch_size,
            num_classes=spec.num_classes,
            variants=("tome",) if spec.gives_tokens else (),
            pooling=spec.global_pool,
            exits=(),
            why_no_exits=("a classifier has no heads at which tokens could leave", "leave it out"),
            why_no_sharing="a classifier embeds whole images",
            restores=spec.gives_tokens,
        )

    def model(self, spec: TimmVitSpec) -> nn.Module:
        """timm's own."""
        return timm_vit_from_spec(spec)

    def seed(self, model: nn.Module, spec: TimmVitSpec, seed: int) -> None:
        """Positions are smooth in space where the model has any."""
        seed_plain_weights(model, seed, spec.grid if getattr(model, "pos_embed", None) is not None else None)

    def optional_keys(self, spec: TimmVitSpec, exits: Iterable[int]) -> tuple[str, ...]:
        """What comes after the tokens or the embedding, where only those are given out."""
        classifier = () if LOGITS in spec.outputs else ("head.", "head_dist.")
        return classifier if {LOGITS, EMBEDDING} & {*spec.outputs} else (*classifier, "fc_norm.", "attn_pool.")

    def walk(self, model: nn.Module, spec: TimmVitSpec, size: InputSpec, output: str, tail: TailSpec) -> TimmVitWalk:
        """See `TimmVitWalk`."""
        return TimmVitWalk(model, spec, size)  # type: ignore[arg-type]

    def published_walk(self, model: nn.Module, spec: TimmVitSpec, size: InputSpec, output: str) -> PublishedTimmWalk:
        """See `PublishedTimmWalk`."""
        return PublishedTimmWalk(model, spec, size)

    def block_macs(self, spec: TimmVitSpec, branches: Sequence[BranchTokens]) -> BlockMacs:
        """A pre-norm ViT block."""
        return vit_macs(branches, spec.embed_dims, spec.mlp_hidden)

    def macs(
        self,
        spec: TimmVitSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """A host without a norm of all tokens has one on its pooled vector instead."""
        tokens, width = blocks[-1].tokens_out, spec.embed_dims
        normed = [tap + 1 for tap in spec.taps if spec.tap_norm and spec.final_norm]
        normed += [spec.num_layers] if spec.reads_last and spec.final_norm else []
        counts = [blocks[block - 1].tokens_out for block in normed] + ([] if spec.final_norm else [1])
        depth = spec.tubelet if spec.frames else 1
        classifier = (2 if spec.distilled else 1) * spec.num_classes * width if LOGITS in spec.outputs else 0
        head = Head("head", "Linear", (len(blocks),), tokens, 0, classifier)
        return HostMacs(
            embedding=patch_embedding_macs(math.prod(spec.grid), spec.in_channels, spec.patch_size, width, depth),
            blocks=tuple(self.block_macs(spec, block.branches) for block in blocks),
            final_norm=sum(layer_norm_macs(count, width) for count in counts),
            heads=(head,) if classifier else (),
        )

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """Frames of a clip, grid, prefix tokens."""
        frames = {} if spec.frames is None else {"frames": spec.frames}
        return {
            **frames,
            "grid": list(facts.grid),
            "patches": facts.num_patches,
            "class_token": spec.class_token,
            "num_prefix": facts.prefix,
        }
