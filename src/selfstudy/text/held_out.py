"""What a run on text foretells of the part of its corpus that was held out."""

from rich.console import Console

from selfstudy.config import RunConfig
from selfstudy.encoders.text import TextEncoder
from selfstudy.probes.results import Score, held_out_scores
from selfstudy.runs.folder import RunFolder
from selfstudy.text.batches import Wrap
from selfstudy.text.corpus import Corpus
from selfstudy.text.held_out_figures import causal_figures, masked_figures
from selfstudy.text.language import LanguageFigures, load_mask_set, mask_set, save_mask_set, stream_digest
from selfstudy.text.tokenizer import token_bytes

_SHORTEST = 16  # tokens
_RATE, _SEED = 0.15, 0  # the share by which masked models are compared, however many tokens they hid in training


def measure_held_out(
    folder: RunFolder, encoder: TextEncoder, corpus: Corpus, config: RunConfig, console: Console
) -> LanguageFigures | None:
    """The figures, printed and added to the run's evaluations; None where too little was held out to measure."""
    if len(corpus.store.held_out) < _SHORTEST:
        console.print(f"held out {len(corpus.store.held_out)} tokens are too few to measure anything", highlight=False)
        return None
    encoder.eval()
    device = next(encoder.parameters()).device
    context, stream = config.data.size[1], corpus.store.held_out
    console.print(f"held out {len(stream):,} tokens to foretell on {device.type}", highlight=False)  # can take minutes
    if encoder.causal:
        across = bool(config.method.get("across_documents", False))
        figures = causal_figures(encoder, stream, context=context, across_documents=across, device=device)
        protocol = f"every held-out token once, from at most {context} before it; held out: {corpus.held_out}"
    else:
        special = corpus.special
        assert special.cls is not None and special.sep is not None and special.pad is not None
        length = min(context - 2, len(stream))
        digest, file = stream_digest(stream.blocks()), corpus.store.folder / f"masks-{length}.safetensors"
        if not file.is_file():
            save_mask_set(mask_set(len(stream), length, _RATE, _SEED), file, digest=digest)
        masks = load_mask_set(file, digest=digest)
        wrap = Wrap(special.cls, special.sep, special.pad)
        table = token_bytes(corpus.tokenizer)
        figures = masked_figures(encoder, stream, masks, wrap=wrap, token_bytes=table, device=device)
        protocol = (
            f"{masks.protocol}, {figures.tokens:,} tokens foretold, none of them special; held out: {corpus.held_out}"
        )
    folder.append(folder.evaluations, [score.line() for score in _scores(figures, protocol, corpus)])
    accuracy = "" if figures.accuracy is None else f" · accuracy {figures.accuracy:.1f} %"
    console.print(
        f"held out {figures.bits_per_byte:.3f} bits per byte · {figures.nats_per_token:.4f} nats per token"
        f" · perplexity {figures.perplexity:.1f}{accuracy}",
        highlight=False,
    )
    return figures


def _scores(figures: LanguageFigures, protocol: str, corpus: Corpus) -> list[Score]:
    """One score for each figure; bits per byte compare runs on the same documents, whatever their tokenizers."""
    derived = {"bits_per_byte": figures.bits_per_byte, "perplexity": figures.perplexity}
    data = f"documents of digest {corpus.store.fingerprint[:12]}"
    return held_out_scores({**figures._asdict(), **derived, "protocol": protocol, "data": data})
