"""Measures a run on the held-out part of its corpus."""

import torch
from rich.console import Console

from selfstudy.encoders.text import TextEncoder
from selfstudy.probes.results import Score, held_out_scores
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.resolved import Resolved
from selfstudy.text.batches import Wrap
from selfstudy.text.corpus import Corpus
from selfstudy.text.held_out_figures import causal_figures, masked_figures
from selfstudy.text.language import LanguageFigures, load_mask_set, mask_set, save_mask_set, stream_digest
from selfstudy.text.resolve import TextInputs
from selfstudy.text.tokenizer import token_bytes

_SHORTEST = 16  # tokens
_RATE, _SEED = 0.15, 0  # masked models are compared at this share, even if they were trained with another


def measure_held_out(
    folder: RunFolder, encoder: TextEncoder, corpus: Corpus, resolved: Resolved[TextInputs], console: Console
) -> None:
    """Print the figures on held-out text and add them to the run's evaluations, unless that text is too short.

    Args:
        folder: the run folder.
        encoder: the trained encoder, with its head; put into eval mode.
        corpus: the run's corpus.
        resolved: the settings of the run.
        console: the console that shows the figures.
    """
    if len(corpus.store.held_out) < _SHORTEST:
        console.print(f"held out {len(corpus.store.held_out)} tokens, too few to measure anything", highlight=False)
        return
    encoder.eval()
    device = next(encoder.parameters()).device
    count = len(corpus.store.held_out)
    console.print(f"held out {count:,} tokens to predict on {device.type}", highlight=False)  # can take minutes
    figures, protocol = (_causal if encoder.causal else _masked)(encoder, corpus, resolved, device)
    folder.append(folder.evaluations, [score.line() for score in _scores(figures, protocol, corpus)])
    accuracy = "" if figures.accuracy is None else f" · accuracy {figures.accuracy:.1f} %"
    console.print(
        f"held out {figures.bits_per_byte:.3f} bits per byte · {figures.nats_per_token:.4f} nats per token"
        f" · perplexity {figures.perplexity:.1f}{accuracy}",
        highlight=False,
    )


def _causal(
    encoder: TextEncoder, corpus: Corpus, resolved: Resolved[TextInputs], device: torch.device
) -> tuple[LanguageFigures, str]:
    """The figures of a causal model, with their protocol."""
    context, across = resolved.inputs.context, bool(resolved.config.method.get("across_documents", False))
    stream = corpus.store.held_out
    figures = causal_figures(encoder, stream, context=context, across_documents=across, device=device)
    return figures, f"every held-out token once, from at most {context} before it; held out: {corpus.held_out}"


def _masked(
    encoder: TextEncoder, corpus: Corpus, resolved: Resolved[TextInputs], device: torch.device
) -> tuple[LanguageFigures, str]:
    """The figures of a masked model on the corpus's stored mask set, with their protocol."""
    special, stream = corpus.special, corpus.store.held_out
    assert special.cls is not None and special.sep is not None and special.pad is not None
    length = min(resolved.inputs.context - 2, len(stream))
    digest, file = stream_digest(stream.blocks()), corpus.store.folder / f"masks-{length}.safetensors"
    if not file.is_file():
        save_mask_set(mask_set(len(stream), length, _RATE, _SEED), file, digest=digest)
    masks = load_mask_set(file, digest=digest)
    wrap, table = Wrap(special.cls, special.sep, special.pad), token_bytes(corpus.tokenizer)
    figures = masked_figures(encoder, stream, masks, wrap=wrap, token_bytes=table, device=device)
    how = f"{masks.protocol}, {figures.tokens:,} tokens predicted, none of them special"
    return figures, f"{how}; held out: {corpus.held_out}"


def _scores(figures: LanguageFigures, protocol: str, corpus: Corpus) -> list[Score]:
    """One score for each figure; only bits per byte can be compared between tokenizers."""
    derived = {"bits_per_byte": figures.bits_per_byte, "perplexity": figures.perplexity}
    data = f"documents of digest {corpus.store.fingerprint[:12]}"
    return held_out_scores({**figures._asdict(), **derived, "protocol": protocol, "data": data})
