"""SegViT as a walk: embedding, blocks, exits, and the way from the final head to class scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexport.hosts.host import ClassMapTail, ExitPrediction, PublishedWalk, TailSpec, Walk
from edgeexport.hosts.restored import Restored
from edgeexport.hosts.segvit.heads import AtmHead, PruneHead
from edgeexport.hosts.segvit.segvit import SegVit
from edgeexport.hosts.segvit.vit import VitBackbone, VitBlock
from edgeexport.inputs.spec import InputSpec
from edgeexport.ops.token_unmerge import token_unmerge
from edgeexport.ops.upsample_argmax import upsample_argmax
from edgeexport.tokens.attention import SelfAttention, attend
from edgeexport.tokens.block import Block, Residual
from edgeexport.tokens.patches import patches_from_image
from edgeexport.tokens.preprocess import NormalisedImage, normalised_image
from edgeexport.tokens.published_tokens import PublishedTokens
from edgeexport.tokens.trace import Trace

__all__ = ["PublishedSegVitWalk", "SegVitWalk"]


def _layers(backbone: VitBackbone) -> list[VitBlock]:
    return [layer for layer in backbone.layers if isinstance(layer, VitBlock)]


class _SelfAttention(Residual):
    def added(self, normed: Tensor, bias: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        return self.branch(normed, bias)


class _Compared(nn.Module):
    """An attention branch that also gives what tokens are compared by, (B, h, n, d): 'k', 'q' or 'v'."""

    def __init__(self, residual: _SelfAttention) -> None:
        super().__init__()
        self._residual = (residual,)  # no submodule: an export tells nodes apart by names, and it has one already

    def forward(self, x: Tensor, bias: Tensor | None, metric: str) -> tuple[Tensor, Tensor]:
        (residual,) = self._residual
        attention = residual.branch.attn
        assert isinstance(attention, SelfAttention)
        query, key, value = attention.heads(residual.norm(x))
        mixed = attention.out_proj(attend(query, key, value, bias))
        return x + mixed, {"q": query, "k": key, "v": value}[metric]


class _Block(Block):
    def __init__(self, layer: VitBlock) -> None:
        attention = _SelfAttention(layer.ln1, layer.attn)
        super().__init__(attn=attention, mlp=Residual(layer.ln2, layer.ffn))
        self.compared = _Compared(attention)

    def attend(self, x: Tensor, bias: Tensor | None, metric: str | None) -> tuple[Tensor, Tensor | None]:
        """See `Block.attend`; the metric may be 'k', 'q', 'v' or 'x'."""
        return super().attend(x, bias, metric) if metric in (None, "x") else self.compared(x, bias, metric)


class _PublishedBlock(Block):
    """mmsegmentation's block, cut at its branches."""

    def __init__(self, layer: VitBlock) -> None:
        super().__init__(attn=_SelfAttention(layer.ln1, layer.attn), mlp=Residual(layer.ln2, layer.ffn))
        self.layer = layer

    def attend(self, x: Tensor, bias: Tensor | None, metric: str | None) -> tuple[Tensor, Tensor | None]:
        """The metric is averaged over heads: (1, n, d)."""
        after, compared = super().attend(x, bias, metric)
        if metric in (None, "x"):
            return after, compared
        attention, width = self.layer.attn.attn, x.shape[2]
        first = {"q": 0, "k": width, "v": 2 * width}[str(metric)]
        rows = slice(first, first + width)
        bias_of = None if attention.in_proj_bias is None else attention.in_proj_bias[rows]
        part = F.linear(self.layer.ln1(x), attention.in_proj_weight[rows], bias_of)
        return after, part.reshape(*x.shape[:2], attention.num_heads, -1).mean(dim=2)


class _Embedding(nn.Module):
    """Flat patches (B, n, 3 P^2) and their positions (1 or B, n, C) -> (B, n + prefix, C)."""

    def __init__(self, backbone: VitBackbone) -> None:
        super().__init__()
        self.patch_embed = backbone.patch_embed
        self.first: Tensor | None
        first = (backbone.cls_token + backbone.pos_embed[:, :1]).detach().clone()
        self.register_buffer("first", first if backbone.spec.with_cls_token else None, persistent=False)

    def forward(self, patches: Tensor, position: Tensor) -> Tensor:
        x = self.patch_embed(patches) + position
        return x if self.first is None else torch.cat([self.first.expand(x.shape[0], -1, -1), x], dim=1)


class _TokenScores(nn.Module):
    def forward(self, class_logits: Tensor, mask_logits: Tensor) -> Tensor:
        return PruneHead.token_scores(class_logits, mask_logits)


class _Exit(nn.Module):
    """An auxiliary head, and what it says of every token: the scores serve the choice alone, and count with it."""

    def __init__(self, head: PruneHead) -> None:
        super().__init__()
        self.head, self.scores = head, _TokenScores()

    def forward(self, x: Tensor) -> ExitPrediction:
        class_logits, mask_logits = self.head(x)
        return ExitPrediction(self.scores(class_logits, mask_logits), mask_logits.transpose(1, 2))


class _Reading(nn.Module):
    """What the final head reads: the final norm after the last block, merged tokens brought back, without the class token."""

    def __init__(self, backbone: VitBackbone) -> None:
        super().__init__()
        self.last = backbone.spec.num_layers
        self.prefix = int(backbone.spec.with_cls_token)
        self.norm = backbone.ln1 if backbone.spec.final_norm else nn.Identity()
        self.restored = Restored()

    def forward(self, x: Tensor, block: int, trace: Trace) -> Tensor:
        x = self.restored(self.norm(x) if block == self.last else x, block, trace)
        return x[:, self.prefix :] if self.prefix else x


class _BroughtBack(nn.Module):
    """Mask logits (B, K, n) -> (B, K, N): those of the tokens that left among them, every patch at its place."""

    def forward(self, mask_logits: Tensor, trace: Trace) -> Tensor:
        rows, index = trace.brought_back(mask_logits.transpose(1, 2))
        return (rows if index is None else token_unmerge(rows, index)).transpose(1, 2)


class _Tail(nn.Module):
    """Class and mask logits to class scores, and to the prediction at image size; see `SegVitWalk.predict`."""

    def __init__(self, walk: SegVitWalk) -> None:
        super().__init__()
        self.output, self.per_token, self.class_map = walk.output, walk.per_token, walk.class_map_tail
        self.grid, self.size = walk.grid, walk.size

    def forward(self, class_logits: Tensor, mask_logits: Tensor) -> dict[str, Tensor]:
        if not self.per_token:
            scores = AtmHead.image_scores(class_logits, mask_logits, self.grid, self.size)
            if self.output == "scores":
                return {"scores": scores}
            return {"class_map": scores.argmax(dim=1).to(torch.int32), "class_scores": scores}
        scores = PruneHead.token_scores(class_logits, mask_logits).unflatten(2, self.grid)
        if self.class_map is None:
            full = F.interpolate(scores, size=self.size, mode="bilinear", align_corners=False)
            return {"scores": full}
        class_map, uncertified = upsample_argmax(scores, *self.size, self.class_map.candidates)
        outputs = {"class_map": class_map, "class_scores": scores}
        return outputs | {"uncertified_pixels": uncertified} if self.class_map.fast else outputs


class SegVitWalk(Walk):
    """Walks a `SegVit`. It holds the model's own modules, so it follows when weights change, positions apart."""

    def __init__(self, model: SegVit, size: InputSpec, output: str, tail: TailSpec) -> None:
        super().__init__()
        backbone, spec = model.backbone, model.spec
        self.patch_size = spec.backbone.patch_size
        self.grid = (size.height // self.patch_size, size.width // self.patch_size)
        self.size = (size.height, size.width)
        self.output, self.num_classes = output, spec.decode_head.num_classes
        self.per_token = isinstance(model.decode_head, PruneHead)
        if output == "class_map" and self.per_token:
            self.class_map_tail = self._class_map_tail(tail)
        self.reads = spec.decode_head.stages
        self.pixels = NormalisedImage(size)
        self.embedding = _Embedding(backbone)
        self.position: Tensor
        with torch.no_grad():
            position = backbone.position_grid(*self.grid).clone()
        self.register_buffer("position", position, persistent=False)
        self.blocks = nn.ModuleDict(
            {
                str(number): _Block(layer)
                for number, layer in enumerate(_layers(backbone), start=1)
                if number <= max(self.reads)
            }
        )
        heads = {str(head.spec.stages[0]): _Exit(head) for head in getattr(model, "auxiliary_head", [])}
        self.exits = nn.ModuleDict(heads)
        self.reading = _Reading(backbone)
        self.decode_head = model.decode_head
        self.brought_back = _BroughtBack()
        self.tail = _Tail(self)

    def _class_map_tail(self, tail: TailSpec) -> ClassMapTail:
        """Candidates are the recipe's, or all classes where that is no slower, and exact.

        In ONNX Runtime, 80 of 150 candidates took as long as the plain form, so more than half of the classes are all.
        """
        fast = tail.form == "fast"
        asked = tail.candidates if fast else self.num_classes
        candidates = asked if 2 * asked <= self.num_classes else self.num_classes
        return ClassMapTail(self.num_classes, self.grid, self.size, candidates, fast)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image; there is nothing else to attend to."""
        (image,) = inputs
        return self.pixels(image), None

    def embed(self, pixels: Tensor) -> Tensor:
        """What enters block 1."""
        return self.embedding(patches_from_image(pixels, self.patch_size), self.position)

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """The same from chosen patches."""
        return self.embedding(patches, position)

    def predict(self, stages: dict[int, Tensor], trace: Trace, pool: str) -> dict[str, Tensor]:
        """Final head and tail.

        ``class_map`` is int32 (B, H, W), ``scores`` float32 (B, K, H, W). Beside a class map ``class_scores`` is what it is the
        argmax of: (B, K, h, w) before upsampling (PruneHead), or (B, K, H, W) (ATMHead). ``uncertified_pixels``, int32 (B,),
        comes with the fast class-map tail.
        """
        read = [self.reading(stages[block], block, trace) for block in self.reads]
        class_logits, mask_logits = self.decode_head(read[0] if self.per_token else read)
        return self.tail(class_logits, self.brought_back(mask_logits, trace))

    @property
    def output_names(self) -> tuple[str, ...]:
        """What `predict` gives out, the prediction first."""
        if self.output == "scores":
            return ("scores",)
        certified = self.class_map_tail is not None and self.class_map_tail.fast
        return ("class_map", "class_scores", *(("uncertified_pixels",) if certified else ()))


class PublishedSegVitWalk(PublishedWalk):
    """The same layers image by image, with a canvas written by indexing and the plain class-map tail."""

    def __init__(self, model: SegVit, size: InputSpec, output: str) -> None:
        self.model, self.input, self.output = model, size, output
        patch = model.spec.backbone.patch_size
        self.patch_size, self.grid = patch, (size.height // patch, size.width // patch)

    @property
    def position(self) -> Tensor:
        """(1, N, C), positions of all patches."""
        return self.model.backbone.position_grid(*self.grid)

    def begin(self, *inputs: Tensor) -> tuple[Tensor, None]:
        """The normalised image."""
        (image,) = inputs
        return normalised_image(image, self.input), None

    def embed(self, pixels: Tensor) -> Tensor:
        """By the backbone's own method."""
        return self.embed_patches(patches_from_image(pixels, self.patch_size), self.position)

    def embed_patches(self, patches: Tensor, position: Tensor) -> Tensor:
        """The same from chosen patches."""
        return self.model.backbone.embed(patches, position)

    def block(self, number: int) -> Block:
        """mmsegmentation's block, cut at its branches."""
        return _PublishedBlock(_layers(self.model.backbone)[number - 1])

    def exit(self, block: int, x: Tensor) -> ExitPrediction:
        """What the auxiliary head after ``block`` says."""
        class_logits, mask_logits = self.model.auxiliary_head_after(block)(x)
        return ExitPrediction(PruneHead.token_scores(class_logits, mask_logits), mask_logits.transpose(1, 2))

    def predict(
        self, stages: dict[int, Tensor], tokens: PublishedTokens, *, pool: str, upsample: bool
    ) -> dict[str, Tensor]:
        """``scores`` float32 (K, H, W) and ``class_map`` int32 (H, W) (equal scores: lowest class), if ``upsample``; with
        PruneHead ``token_scores`` float32 (K, n0) of block 1's tokens and ``class_scores`` float32 (K, h, w).
        """
        backbone, head = self.model.backbone, self.model.decode_head
        read = [backbone.patch_tokens(tokens.restored(block, stages[block]), block) for block in head.spec.stages]
        share = tokens.share
        image = (self.input.height, self.input.width)
        if isinstance(head, AtmHead):
            class_logits, masks = head(read)
            masks = masks if share is None else masks[:, :, share]
            scores = AtmHead.image_scores(class_logits, masks, self.grid, image)[0]
            return self._predicted(scores) | {"class_scores": scores}
        class_logits, masks = head(read[0])
        canvas = masks.new_zeros(head.spec.num_classes, tokens.count - int(backbone.spec.with_cls_token))
        for which, left in tokens.left:
            canvas[:, which] = left.T
        canvas[:, tokens.alive if tokens.left else slice(None)] = masks[0]
        token_scores = PruneHead.token_scores(class_logits, canvas[None])
        scores = (token_scores if share is None else token_scores[:, :, share]).unflatten(2, self.grid)
        outputs = {"token_scores": token_scores[0], "class_scores": scores[0]}
        if not upsample:
            return outputs
        full = F.interpolate(scores, size=image, mode="bilinear", align_corners=False)[0]
        return outputs | self._predicted(full)

    @staticmethod
    def _predicted(scores: Tensor) -> dict[str, Tensor]:
        return {"scores": scores, "class_map": scores.argmax(dim=0).to(torch.int32)}
