"""Language models as a family whose graphs are several: what the rest of the package asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from edgeexport.config.place import Place
from edgeexport.errors import plain_text
from edgeexport.hosts.decoder.config import decoder_from_config, folder_of, model_config
from edgeexport.hosts.decoder.facts import cache_facts, prompt_facts
from edgeexport.hosts.decoder.graphs import decoder_graphs
from edgeexport.hosts.decoder.model import DecoderModel
from edgeexport.hosts.decoder.spec import DecoderSpec
from edgeexport.hosts.decoder.weights import decoder_with_weights, seeded_decoder, state_of_folder, weights_digest
from edgeexport.hosts.graph_form import GraphForm
from edgeexport.inputs.prompt_facts import PromptFacts
from edgeexport.tokens.cache import CacheFacts

__all__ = ["LanguageModelHost"]


class LanguageModelHost:
    """A family by the ``type`` of a recipe's ``model``; found by the literal dict `GRAPH_LISTS` in `edgeexport.hosts`."""

    types: ClassVar[tuple[str, ...]] = ("decoder",)
    scopes: ClassVar[Mapping[str, str]] = {
        "inner.embed_tokens": "embedding",
        "inner.visual.patch_embed": "embedding",
        "inner.visual.blocks.#": "block_#",
        "inner.visual.merger": "head",
        "decoder.model.layers.#": "block_#",
        "decoder.model.norm": "final_norm",
        "decoder.lm_head": "head",
        "steps.#": "merge_#",
    }

    def spec_from_config(self, config: Mapping[str, object], place: Place, base: Path) -> DecoderSpec:
        """Validates ``model`` and ``input`` of a recipe in the folder ``base``. Raises: RecipeError, CheckpointError."""
        return decoder_from_config(config["model"], config.get("input"), place, base)

    def original_config(self, config: Mapping[str, Any], place: Place, base: Path) -> dict[str, Any]:
        """The Hugging Face config that the model is described by."""
        return dict(model_config(config["model"], place.at("model"), base)[0])

    def folder(self, config: Mapping[str, Any], place: Place, base: Path) -> Path | None:
        """Where weights, tokenizer and chat template are; None for seeded weights."""
        return folder_of(config["model"], place.at("model"), base)

    def cache_facts(self, spec: DecoderSpec) -> CacheFacts:
        """See `cache_facts`."""
        return cache_facts(spec)

    def prompt_facts(
        self, spec: DecoderSpec, slots: int | None, config: Mapping[str, Any], flow: Sequence[bool]
    ) -> PromptFacts:
        """See `prompt_facts`; the tokens that end an answer are the config's."""
        inner = config.get("text_config") or config
        ends = config.get("eos_token_id", inner.get("eos_token_id"))
        ends = ends if isinstance(ends, list) else [ends]
        return prompt_facts(spec, slots, [int(token) for token in ends if isinstance(token, int)], flow)

    def model(self, spec: DecoderSpec, folder: Path | None, seed: int) -> tuple[DecoderModel, dict[str, Any]]:
        """The model, and a manifest's ``weights``. Raises: CheckpointError."""
        if folder is None:
            statement = f"random weights, seed {seed}: what it says means nothing"
            return seeded_decoder(spec, seed), _origin("random", seed, None, None, statement)
        model = decoder_with_weights(spec, state_of_folder(folder), str(folder))
        name = plain_text(folder.name)
        return model, _origin("checkpoint", None, name, weights_digest(folder), f"weights from {name}")

    def graphs(
        self, model: DecoderModel, steps: Sequence[nn.Module] | None, slots: int | None
    ) -> tuple[GraphForm, ...]:
        """See `decoder_graphs`."""
        return decoder_graphs(model, steps, slots)


def _origin(origin: str, seed: int | None, file: str | None, digest: str | None, statement: str) -> dict[str, Any]:
    more = {"policy_file": None, "policy_sha256": None, "statement": statement}
    return {"origin": origin, "seed": seed, "file": file, "sha256": digest, **more}
