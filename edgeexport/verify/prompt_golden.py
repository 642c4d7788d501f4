"""A language model's graphs held to the golden prompts of their bundle. Runs without torch.

Keys of golden.npz are ``case0/NAME``: the prompt's arrays, ``pixel_values`` where it has images, ``following``, tokens that
were given after it, ``logits`` (1 + following, V), and the decisions ``pivot.%d`` and ``target.%d``.
"""

from __future__ import annotations

import numpy as np

from edgeexport.backends.engine import runners_of_graphs
from edgeexport.backends.golden_prompt import golden_prompt
from edgeexport.backends.prompt_runner import PromptRunner
from edgeexport.bundle import Bundle
from edgeexport.documents import read_golden
from edgeexport.errors import BundleError
from edgeexport.verify.compare import Comparison, float_difference, integer_difference, judged

__all__ = ["golden_prompts"]


def golden_prompts(bundle: Bundle, engine: str = "auto") -> tuple[list[Comparison], str]:
    """Runs every golden prompt; a comparison for each, and what executed.

    Decisions have to be equal: they were made by the same graphs.

    Raises:
        BundleError: golden.npz is damaged, or does not fit the graphs.
    """
    facts = bundle.prompt
    assert facts is not None
    path = bundle.path / "golden.npz"
    cases = sorted({name.partition("/")[0] for name in read_golden(path, bundle.manifest)})
    if not cases:
        raise BundleError(str(path), "holds no prompt", "build it again")
    runner = PromptRunner(runners_of_graphs(bundle, engine), facts)
    found = []
    for case in cases:
        golden = golden_prompt(bundle, case, facts)
        logits = [runner.prompt(golden.prompt, golden.pixels)]
        outputs = [
            integer_difference(name, runner.prefilled[name], golden.arrays[name])
            for name in sorted(golden.arrays)
            if name.startswith(("pivot.", "target."))
        ]
        logits += [runner.next(token) for token in golden.following]
        outputs.append(float_difference("logits", np.stack(logits), golden.arrays["logits"]))
        title = (f"prompt of {golden.prompt.tokens} tokens",)
        found.append(judged("golden prompts", "golden.npz", runner.name, title, outputs, []))
    return found, f"{runner.name} {runner.version}"
