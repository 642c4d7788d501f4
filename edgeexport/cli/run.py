"""``edgeexport run``: predictions for photographs. No logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.options import BundleArgument, EngineOption, JsonFlag, TrustFileOption, TrustOption
from edgeexport.errors import UsageError
from edgeexport.terminal.output import emit, error_told, images_shown

__all__ = ["run"]


def run(
    bundle: BundleArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Photographs of any size, folders of them, films.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Of a language model: the question.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a language model: tokens at most.")] = None,
    out_dir: Annotated[Path | None, typer.Option(help="Where pictures go; predictions/<bundle> by default.")] = None,
    engine: EngineOption = "auto",
    policy_every: Annotated[
        int, typer.Option(help="Ask a policy network with a graph of its own for every n-th image.")
    ] = 1,
    every_frame: Annotated[int, typer.Option(help="Of a film, predict every n-th frame.", min=1, max=1 << 20)] = 1,
    threads: Annotated[
        int, typer.Option(help="ONNX Runtime: threads for model.onnx; 0 lets it choose.", min=0, max=1024)
    ] = 0,
    trust: TrustOption = None,
    trust_file: TrustFileOption = None,
    json_output: JsonFlag = False,
) -> None:
    """Predict photographs; writes label maps and overlays, or merged regions and the likeliest classes. A language model
    answers --prompt.
    """
    from edgeexport.bundle import open_bundle
    from edgeexport.commands.run import predict_images
    from edgeexport.plugin.trust import trusting
    from edgeexport.terminal.results import print_predictions

    if prompt is not None or open_bundle(bundle, check_hashes=False).prompt is not None:
        with trusting(trust or (), trust_file or ()):
            _answer(bundle, images or [], prompt, max_new_tokens, out_dir, engine, json_output)
        return
    if max_new_tokens is not None:
        raise UsageError("--max-new-tokens", "is for a language model", "leave it out")
    with trusting(trust or (), trust_file or ()), images_shown("pictures already written stay") as on_progress:
        predictions = predict_images(
            bundle,
            images or [],
            out_dir,
            engine=engine,
            policy_every=policy_every,
            every_frame=every_frame,
            threads=threads,
            progress=lambda done, count, path: on_progress(done, count, path.name),
        )
    emit(json_output, predictions.as_dict(), lambda: print_predictions(predictions))
    if predictions.error is not None:
        error_told(f"error: {predictions.error}")
        raise typer.Exit(predictions.error.exit_code)


def _answer(
    bundle: Path,
    images: list[Path],
    prompt: str | None,
    count: int | None,
    out_dir: Path | None,
    engine: str,
    json_output: bool,
) -> None:
    from edgeexport.commands.answer import answer_prompt
    from edgeexport.terminal.answer import AnswerShown, print_answer

    shown = AnswerShown(quiet=json_output)
    answer = answer_prompt(bundle, prompt, images, out_dir, max_new_tokens=count, engine=engine, on_text=shown.add)
    shown.end()
    emit(json_output, answer.as_dict(), lambda: print_answer(answer))
