"""Pretraining on text: the corpus, the encoder and the rows for :mod:`selfstudy.runs.pretraining`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from selfstudy.data.batches import Shard
from selfstudy.disk.user_cache import user_cache
from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import TextEncoder, build_text_encoder
from selfstudy.encoders.text_store import save_text_encoder
from selfstudy.errors import UsageError
from selfstudy.machine.compiler import compiler_problem
from selfstudy.machine.precision import faster_precision
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.methods.reads import Text
from selfstudy.ops.random import initial_seed
from selfstudy.runs.folder import RunFolder
from selfstudy.runs.modality import Work
from selfstudy.runs.resolved import Resolved
from selfstudy.runs.whitening import allowance
from selfstudy.text.batches import Cuts, TokenRows, Wrap, cuts_of, render_rows, tokens_of
from selfstudy.text.config import TextDataConfig, TextRunConfig
from selfstudy.text.corpus import Corpus, open_corpus
from selfstudy.text.embedder import TextEmbedder
from selfstudy.text.held_out import measure_held_out
from selfstudy.text.readings import open_eval_set
from selfstudy.text.resolve import Measurements, TextFacts, TextInputs, resolve
from selfstudy.text.tokenizer import load_tokenizer, require, starts_word
from selfstudy.text.whitening import whiten_by_tokens
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.train.readings import EvalSet
from selfstudy.views.spec import Spec

_TRIAL_TOKENS = 1024
_PLATEAU = "the entropy of single tokens: it predicts how frequent tokens are and uses no context yet"


class TextWork(Work):
    """A tokenised corpus to pretrain on. Other runs use the same tokens; unreadable text was left out and counted."""

    def __init__(self, data: object, config: TextRunConfig, console: Console) -> None:
        self._config, self._method = config, method_class(config.method["name"])
        reads = Text.of(self._method)
        self._settings = with_its_tokenizer(config)
        self.corpus = open_text(data, self._settings.data, console, pieces=reads.pieces)
        needed = ("eos",) if reads.head == "causal" else ("pad", "cls", "sep", "mask", "eos")
        require(self.corpus.special, *needed)
        self.plateau = (self.corpus.landmarks.unigram, _PLATEAU) if reads.head else None

    def resolve(self) -> Resolved[TextInputs]:
        """The configuration with everything decided; a precision or compilation of ``auto`` is measured."""
        facts = TextFacts(
            len(self.corpus.store.train),
            self._rows,
            self.corpus.column,
            self.corpus.tokenizer_kind,
            self.corpus.vocab_size,
            str(cache_folder(self._settings.data)),
        )
        measure = Measurements(self._measured_precision, _tried_compiler)
        return resolve(self._config, facts, self._method, measure=measure)

    def _rows(self, context: int) -> int:
        """The number of rows of a length that the corpus has."""
        return len(self._cuts(self._method.default_views((1, context), 1), self._config.train.seed))

    def _cuts(self, specs: Sequence[Spec], seed: int) -> Cuts:
        end = self.corpus.special.eos
        assert end is not None  # checked in __init__
        return cuts_of(self.corpus.store.train, tokens_of(specs), seed=seed, end=end)

    def _measured_precision(self, inputs: TextInputs, batch_size: int) -> tuple[str, str]:
        """The precision that trains the encoder faster on these processors, measured on noise, and the reason."""
        encoder = text_encoder(inputs, self._method, self.corpus)
        count = min(max(2, _TRIAL_TOKENS // inputs.context), batch_size)
        return faster_precision(encoder, torch.randint(encoder.vocabulary.size, (count, inputs.context)))

    def unit(self, resolved: Resolved[TextInputs]) -> Unit:
        """Speed is counted in tokens."""
        return Unit("tokens", resolved.inputs.context)

    def build_method(self, resolved: Resolved[TextInputs], *, fetch: bool = True) -> Method:
        """The method with a new encoder; nothing is downloaded in any case."""
        torch.manual_seed(initial_seed(resolved.train.seed))
        return resolved.method(text_encoder(resolved.inputs, resolved.method, self.corpus), resolved.settings)

    def fingerprint(self) -> tuple[int, str]:
        """The number of documents, and a digest of the documents, their division and their tokenizer."""
        store = self.corpus.store
        of_both = hashlib.sha256(f"{store.fingerprint}\n{store.tokenizer_sha256}".encode())
        return self.corpus.census.documents, of_both.hexdigest()

    def eval_set(self, labelled: object, method: Method, resolved: Resolved[TextInputs]) -> EvalSet:
        """A part of the train texts of labelled data."""
        encoder, about = method.encoder, {"context": resolved.inputs.context}
        assert isinstance(encoder, TextEncoder)  # build_method made it
        device = next(encoder.parameters()).device
        return open_eval_set(labelled, TextEmbedder(encoder, self.corpus.tokenizer, about, device=device))

    def batches(self, resolved: Resolved[TextInputs], shard: Shard) -> tuple[TokenRows, Render]:
        """Rows of tokens, and the function that renders them for the method."""
        specs, train = resolved.inputs.specs, resolved.train
        data = TokenRows(
            self.corpus.store.train,
            self._cuts(specs, train.seed),
            specs,
            seed=train.seed,
            batch_size=train.batch_size,
            wrap=wrap_of(self.corpus),
            shard=shard,
        )
        return data, lambda rows, device: render_rows(rows, specs, device)

    def seconds_to_finish(self, method: Method, resolved: Resolved[TextInputs]) -> float:
        """See :class:`selfstudy.runs.modality.Work`; held-out text is measured after the budget."""
        return 1.0 + (allowance(resolved.train.duration, 0).seconds or 0.0)

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved[TextInputs], console: Console) -> None:
        """Write ``encoder/``, and measure the loss on the held-out text."""
        which, encoder = method.representation()
        assert isinstance(encoder, TextEncoder)  # build_method made it, and a method returns it or a copy
        inputs, predicts = resolved.inputs, bool(Text.of(resolved.method).head)
        extra = {
            "weights": which,
            "method": resolved.config.method["name"],
            "seed": resolved.train.seed,
            "name": inputs.name,
            "head": predicts,
        }
        save_text_encoder(encoder, self.corpus.tokenizer, folder.encoder, context=inputs.context, extra=extra)
        if predicts:
            measure_held_out(folder, encoder, self.corpus, resolved, console)

    def whiten(self, folder: RunFolder, resolved: Resolved[TextInputs], seen: int, console: Console) -> None:
        """Add whitening statistics of the documents to learn from to ``encoder/``."""
        embedder = TextEmbedder.load(folder.encoder, device=resolved.train.device)
        end = self.corpus.special.eos
        assert end is not None  # checked in __init__
        allowed = allowance(resolved.train.duration, seen)
        whiten_by_tokens(embedder, self.corpus.store.train, end=end, allowed=allowed, console=console)


def _tried_compiler() -> tuple[bool, str]:
    """True if torch.compile works on this machine's processors, and the reason."""
    problem = compiler_problem(torch.device("cpu"))
    return not problem, f"tried: {problem or 'torch.compile works here, and the run is long'}"


def with_its_tokenizer(config: TextRunConfig) -> TextRunConfig:
    """The configuration with the tokenizer of the encoder, if the encoder is a directory; it knows only these ids.

    Raises:
        UsageError: another tokenizer is given, or the directory has no tokenizer and none is given.
    """
    folder, given = Path(config.encoder.name), config.data.tokenizer
    if not folder.is_dir():
        return config
    own = folder / "tokenizer.json"
    if given == "auto" and own.is_file():
        data = config.data.model_copy(update={"tokenizer": str(own)})
        return config.model_copy(update={"data": data})
    if not Path(given).exists():
        raise UsageError(
            f"data.tokenizer {given}: the encoder in {folder} knows only its own ids\ngive its tokenizer.json"
        )
    if own.is_file() and load_tokenizer(given).get_vocab() != load_tokenizer(own).get_vocab():
        raise UsageError(
            f"data.tokenizer {given}: differs from the tokenizer of the encoder in {folder}\nleave it out to use that"
        )
    return config


def open_text(data: object, config: TextDataConfig, console: Console, *, pieces: bool) -> Corpus:
    """The tokenised corpus of a configuration.

    Args:
        data: the data, in any form that :func:`selfstudy.text.documents.open_documents` opens.
        config: the settings of the data.
        console: the console that shows what was found.
        pieces: True if the method learns from documents one by one.
    """
    return open_corpus(data, config, pieces=pieces, cache=cache_folder(config), console=console)


def cache_folder(config: TextDataConfig) -> Path:
    """The folder of tokenised corpora: the one in the configuration, or one in the user's cache.

    Raises:
        EnvironmentFault: the user has no home folder.
    """
    return user_cache() / "tokens" if config.cache == "auto" else Path(config.cache)


def wrap_of(corpus: Corpus) -> Wrap:
    """The special ids of rows; -1 for those that the tokenizer does not have, which no row then uses."""
    special = corpus.special
    return Wrap(*(-1 if number is None else number for number in (special.cls, special.sep, special.pad)))


def text_encoder(inputs: TextInputs, method: type[Method], corpus: Corpus) -> TextEncoder:
    """The encoder of a run, with random weights, or with those of a directory.

    Raises:
        UsageError: the encoder is causal, and ``pool`` is ``cls``.
    """
    special = corpus.special
    vocabulary = Vocabulary(corpus.store.vocab_size, special.pad, special.cls, special.sep, special.mask, special.eos)
    encoder = build_text_encoder(
        inputs.name,
        vocabulary,
        head=bool(Text.of(method).head),
        context=inputs.context,
        dropout=inputs.dropout,
        changes=inputs.changes,
        pool=inputs.pool,
    )
    if encoder.causal and encoder.pool == "cls":  # it sees only itself, so it is the same for every text
        raise UsageError(
            f"encoder.pool cls: the first token in {inputs.name!r} does not see the others\nuse mean or last"
        )
    encoder.starts_word = torch.from_numpy(starts_word(corpus.tokenizer))
    return encoder
