"""A language model's graphs held to the golden prompts of their bundle. Runs without torch.

Keys of golden.npz are ``case0/NAME``: the prompt's arrays, ``pixel_values`` where it has images, ``following``, tokens that
were given after it, ``logits`` (1 + following, V), and the decisions ``pivot.%d`` and ``target.%d``.
"""

from __future__ import annotations

import numpy as np

from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden
from edgeexport.errors import BundleError
from edgeexport.inputs.prompt import LaidOutPrompt
from edgeexport.verify.compare import Comparison, float_difference, integer_difference, judged

__all__ = ["PROMPT_ARRAYS", "golden_prompts"]

PROMPT_ARRAYS = ("input_ids", "attention_mask", "position_ids", "modality")


def golden_prompts(bundle: Bundle, threads: int = 0) -> tuple[list[Comparison], str]:
    """Runs every golden prompt; a comparison for each, and what executed.

    Decisions have to be equal: they were made by the same graphs.

    Raises:
        BundleError: golden.npz is damaged, or does not fit the graphs.
    """
    facts = bundle.prompt
    assert facts is not None
    arrays = read_golden(bundle.path / "golden.npz", bundle.manifest)
    cases = sorted({name.partition("/")[0] for name in arrays})
    graphs = {graph.name: bundle.path / f"{graph.name}.onnx" for graph in bundle.graphs}
    runner = PromptRunner(graphs, facts, threads)
    found = []
    for case in cases:
        own = {name: arrays[f"{case}/{name}"] for name in (*PROMPT_ARRAYS, "following", "logits")}
        expected = (1, facts.length)
        if own["input_ids"].shape != expected or len(own["following"]) > facts.new_tokens:
            raise BundleError(f"{bundle.path / 'golden.npz'}: {case}", f"does not fit {expected}", "build it again")
        prompt = LaidOutPrompt(
            input_ids=own["input_ids"],
            attention_mask=own["attention_mask"],
            position_ids=own["position_ids"],
            modality=own["modality"],
            next_position=int(own["position_ids"].max()) + 1,
            tokens=int(own["attention_mask"].sum()),
        )
        pixels = arrays.get(f"{case}/pixel_values")
        logits = [runner.prompt(prompt, pixels)]
        outputs = []
        for name in sorted(arrays):
            decision = name.removeprefix(f"{case}/")
            if name.startswith(f"{case}/") and decision.startswith(("pivot.", "target.")):
                outputs.append(integer_difference(decision, runner.prefilled[decision], arrays[name]))
        logits += [runner.next(int(token)) for token in own["following"]]
        outputs.append(float_difference("logits", np.stack(logits), own["logits"]))
        title = (f"prompt of {prompt.tokens} tokens",)
        found.append(judged("golden prompts", "golden.npz", runner.name, title, outputs, []))
    return found, f"{runner.name} {runner.version}"
