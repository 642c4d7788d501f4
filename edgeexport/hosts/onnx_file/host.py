"""An ONNX file as a host: the file's own nodes, walked in parts, with reductions between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeexport.config.place import Place
from edgeexport.config.values import mapping
from edgeexport.cost.macs import BlockMacs, layer_norm_macs
from edgeexport.device.plain_session import plain_session
from edgeexport.hosts.host import (
    MERGING_CONVENTION,
    NO_TAIL,
    ExitTokens,
    Head,
    Host,
    HostMacs,
    TailSpec,
    refuse_given,
)
from edgeexport.hosts.input_config import batch_of_shape, crop_from_config, preprocess_from_config
from edgeexport.hosts.onnx_file.config import onnx_config_of_path, onnx_file_spec, vit_of_spec
from edgeexport.hosts.onnx_file.spec import BlockWork, OnnxFileSpec
from edgeexport.hosts.onnx_file.walk import OnnxFileWalk, PublishedOnnxFileWalk
from edgeexport.inputs.spec import InputSpec
from edgeexport.tokens.changes import BlockTokens, BranchTokens
from edgeexport.tokens.host_facts import HostFacts
from edgeexport.tokens.preprocess import normalised_image

__all__ = ["OnnxFileHost"]


class OnnxFileHost(Host):
    """See `Host`."""

    types: ClassVar[tuple[str, ...]] = ("onnx_file",)
    outputs: ClassVar[tuple[str, ...]] = ("the file's",)
    counts_prefix: ClassVar[bool] = True
    checkpoint_is_model: ClassVar[bool] = True
    convention: ClassVar[str] = (
        f"{MERGING_CONVENTION}. Of an ONNX file every product with a weight and every convolution is counted, as they stand "
        "there, and norms over the tokens' width"
    )
    scopes: ClassVar[Mapping[str, str]] = {
        "pixels": "embedding",
        "embedding": "embedding",
        "blocks.#": "block_#",
        "restored": "restore",
        "tail": "head",
    }

    def spec_from_config(self, value: object, place: Place) -> OnnxFileSpec:
        """There is none without a file."""
        return onnx_file_spec(value, place, None)

    def spec_of_checkpoint(self, value: object, place: Place, checkpoint: Path | None) -> OnnxFileSpec:
        """See `onnx_file_spec`."""
        return onnx_file_spec(value, place, checkpoint)

    def config_of_name(self, model: Mapping[str, object], place: Place) -> dict[str, object]:
        """``name`` is the file's path."""
        config = onnx_config_of_path(str(model["name"]))
        own = config["model"]
        assert isinstance(own, dict)
        asked = {key: value for key, value in model.items() if key != "name"}
        if isinstance(asked.get("image"), (list, tuple)):
            size = config["input"]
            assert isinstance(size, dict)
            size["shape"] = [*size["shape"][:2], *asked["image"]]  # type: ignore[misc]
        return {**config, "model": {**own, **asked}}

    def resolved(self, given: dict[str, object], spec: OnnxFileSpec) -> dict[str, object]:
        """What decides how the file is read."""
        image = None if spec.image is None else list(spec.image)
        return {"type": spec.type, "image": image, "prefix": spec.prefix, "unmerge_before": spec.unmerge_before}

    def patch_size(self, spec: OnnxFileSpec) -> int:
        """Rows of pixels per row of patches."""
        return spec.size[1] // spec.grid[0]

    def input_from_config(self, value: object, place: Place, spec: OnnxFileSpec, sides: tuple[int, str]) -> InputSpec:
        """The file fixes its size, and may fix the batch."""
        config = mapping(value, place, ("crop", "preprocess", "shape"))
        names, remedy = "(batch, channels, height, width)", "give model.image, or export the file for that size"
        batch = batch_of_shape(config, place, spec.size, names, remedy)
        if spec.batch is not None and batch != spec.batch:
            problem = f"the file was exported for a batch of {spec.batch}"
            raise place.at("shape").error(
                config["shape"], problem, f"use {spec.batch}, or export it with an open batch"
            )
        crop, rule = config.get("crop"), config.get("preprocess")
        return InputSpec(
            batch=batch,
            height=spec.size[1],
            width=spec.size[2],
            preprocess=None if rule is None else preprocess_from_config(rule, place.at("preprocess")),
            channels=spec.size[0],
            crop=None if crop is None else crop_from_config(crop, place.at("crop")),
        )

    def tail_from_config(self, value: object, place: Place, spec: OnnxFileSpec) -> TailSpec:
        """The file has its own."""
        refuse_given(value, place, "the file has its own tail")
        return NO_TAIL

    def palette_from_config(
        self, config: Mapping[str, object], place: Place, spec: OnnxFileSpec
    ) -> tuple[tuple[tuple[int, int, int], ...], object]:
        """There is none."""
        refuse_given(config.get("palette"), place.at("palette"), "nothing is known of what the file's outputs mean")
        return (), None

    def available_outputs(self, spec: OnnxFileSpec) -> tuple[str, ...]:
        """The file's."""
        return spec.outputs

    def feature_shapes(self, spec: OnnxFileSpec, size: InputSpec) -> dict[str, tuple[int, ...]]:
        """Of the file's outputs."""
        shapes = zip(spec.outputs, spec.output_shapes, strict=True)
        return {name: (size.batch, *shape) for name, shape in shapes if name in spec.floats}

    def always_given(self, spec: OnnxFileSpec) -> tuple[str, ...]:
        """All of the file's outputs."""
        return spec.outputs

    def extra_outputs(self, spec: OnnxFileSpec, output: str, tail: TailSpec) -> tuple[str, ...]:
        """The file's others."""
        return tuple(name for name in spec.outputs if name != output)

    def facts(self, spec: OnnxFileSpec, size: InputSpec) -> HostFacts:
        """Tokens come back ahead of the file's tail, unless it reads those ahead of the patches alone."""
        first = spec.output_shapes[0]
        return HostFacts(
            name="the file's tail" if not spec.keeps_merged else "a classifier",
            title="an ONNX file",
            depth=len(spec.blocks),
            reads=spec.reads,
            grid=spec.grid,
            prefix=spec.num_prefix,
            embed_dims=spec.width,
            num_heads=spec.heads,
            image=(size.height, size.width),
            patch_size=self.patch_size(spec),
            num_classes=first[0] if len(first) == 1 else 0,
            variants=() if spec.keeps_merged else ("tome",),
            pooling="token" if spec.keeps_merged else None,
            exits=(),
            why_no_exits=("the file has no heads at which tokens could leave", "leave it out"),
            why_no_sharing="the file embeds whole images",
            restores=not spec.keeps_merged,
            rotary=spec.rotary,
        )

    def model(self, spec: OnnxFileSpec) -> nn.Module:
        """Empty: the file has the weights."""
        return _File(spec)

    def seed(self, model: nn.Module, spec: OnnxFileSpec, seed: int) -> None:
        """There is nothing to draw."""

    def walk(self, model: nn.Module, spec: OnnxFileSpec, size: InputSpec, output: str, tail: TailSpec) -> OnnxFileWalk:
        """See `OnnxFileWalk`."""
        return OnnxFileWalk(vit_of_spec(spec, size.batch), spec, size, output)

    def published_walk(
        self, model: nn.Module, spec: OnnxFileSpec, size: InputSpec, output: str
    ) -> PublishedOnnxFileWalk:
        """See `PublishedOnnxFileWalk`."""
        return PublishedOnnxFileWalk(vit_of_spec(spec, 1), spec, size)

    def own_run(self, spec: OnnxFileSpec, size: InputSpec) -> Callable[[Sequence[NDArray]], dict[str, NDArray]]:
        """The file, untouched, in ONNX Runtime."""
        session = plain_session(str(spec.file))

        def run(inputs: Sequence[NDArray]) -> dict[str, NDArray]:
            image = normalised_image(torch.from_numpy(inputs[0]), size).numpy()
            values = session.run(list(spec.outputs), {spec.input: np.ascontiguousarray(image)})
            return dict(zip(spec.outputs, values, strict=True))

        return run

    def block_macs(self, spec: OnnxFileSpec, branches: Sequence[BranchTokens]) -> BlockMacs:
        """The first block's work, which stands for all."""
        return _block_macs(spec.blocks[0], spec.width, branches)

    def macs(
        self,
        spec: OnnxFileSpec,
        size: InputSpec,
        embedded: int,
        blocks: Sequence[BlockTokens],
        exits: Sequence[ExitTokens],
    ) -> HostMacs:
        """Blocks one by one; the file's tail is one head."""
        works = zip(spec.blocks, blocks, strict=False)
        head = Head("tail", "ONNX", spec.reads, blocks[-1].tokens_out, 0, spec.tail)
        return HostMacs(
            embedding=spec.embedding,
            blocks=tuple(_block_macs(work, spec.width, block.branches) for work, block in works),
            final_norm=0,
            heads=(head,) if spec.tail else (),
        )

    def geometry(self, spec: Any, facts: HostFacts) -> dict[str, object]:
        """Grid and prefix tokens."""
        return {
            "grid": list(facts.grid),
            "patches": facts.num_patches,
            "class_token": bool(facts.prefix),
            "num_prefix": facts.prefix,
        }


class _File(nn.Module):
    def __init__(self, spec: OnnxFileSpec) -> None:
        super().__init__()
        self.spec = spec


def _block_macs(work: BlockWork, width: int, branches: Sequence[BranchTokens]) -> BlockMacs:
    attention, mlp = branches
    norms = work.norms[0] * attention.norm + work.norms[1] * mlp.norm
    return BlockMacs(
        attention=work.attention * attention.work + work.pairs * attention.work**2,
        mlp=work.mlp * mlp.work,
        norms=layer_norm_macs(norms, width),
    )
