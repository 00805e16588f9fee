"""Pretraining on text: the corpus, the encoder and the rows that :mod:`selfstudy.runs.pretraining` puts together."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from selfstudy import config as cfg
from selfstudy.data.batches import Shard
from selfstudy.encoders.base import Vocabulary
from selfstudy.encoders.text import TextEncoder, build_text_encoder
from selfstudy.encoders.text_store import save_text_encoder
from selfstudy.errors import EnvironmentFault, UsageError
from selfstudy.machine.compiler import compiler_problem
from selfstudy.machine.precision import faster_precision
from selfstudy.methods import method_class
from selfstudy.methods.base import Method
from selfstudy.ops.random import initial_seed
from selfstudy.runs.draft import Resolved
from selfstudy.runs.folder import RunFolder
from selfstudy.text.batches import Cuts, TokenRows, Wrap, cuts_of, render_rows, tokens_of
from selfstudy.text.corpus import Corpus, open_corpus
from selfstudy.text.held_out import measure_held_out
from selfstudy.text.resolve import TextFacts, resolve_text
from selfstudy.text.tokenizer import load_tokenizer, require, starts_word
from selfstudy.train.loop import Render
from selfstudy.train.monitor import Unit
from selfstudy.views.spec import Spec

_TRIAL_TOKENS = 1024


class TextWork:
    """Text, as :class:`selfstudy.runs.modality.Work` asks for it."""

    def __init__(self, data: Any, config: cfg.RunConfig, console: Console) -> None:
        asked = cast(cfg.TextRunConfig, config)  # resolve.configured makes it for methods that learn from text
        settings = with_its_tokenizer(asked)
        self.cls = method_class(config.method["name"])
        self.corpus = open_text(data, settings.data, console, pieces=self.cls.reads_pieces)
        needed = ("eos",) if self.cls.language_head == "causal" else ("pad", "cls", "sep", "mask", "eos")
        require(self.corpus.special, *needed)
        facts = TextFacts(
            len(self.corpus.store.train),
            lambda context: len(self._cuts(context, settings.train.seed)),
            self.corpus.column,
        )
        self.resolved = resolve_text(settings, facts, self.cls)
        if settings is not asked:
            self.resolved.reasons["data.tokenizer"] = "the encoder's own"
        self.unit = Unit("tokens", self.resolved.config.data.size[1])
        predicts = self.cls.language_head
        self.plateau = (self.corpus.landmarks.unigram, "the entropy of single tokens") if predicts else None

    def _specs(self, context: int) -> list[Spec]:
        return list(self.cls.default_views((1, context), 1))

    def _cuts(self, context: int, seed: int) -> Cuts:
        end = cast(int, self.corpus.special.eos)
        return cuts_of(self.corpus.store.train, tokens_of(self._specs(context)), seed=seed, end=end)

    def build_method(self, *, fetch: bool = True) -> tuple[Method, Resolved]:
        """The method around a fresh encoder, for which nothing is ever fetched; an open precision is tried out."""
        config, reasons = self.resolved.config, dict(self.resolved.reasons)
        torch.manual_seed(initial_seed(config.train.seed))
        encoder = text_encoder(cast(cfg.TextRunConfig, config), self.corpus)
        settings = {key: value for key, value in config.method.items() if key != "name"}
        method = self.cls(encoder, cfg.validate(self.cls.Config, settings, "method"))
        train = config.train
        if train.precision == "auto":
            context = config.data.size[1]
            count = min(max(2, _TRIAL_TOKENS // context), cfg.settled(train.batch_size))
            rows = torch.randint(encoder.vocabulary.size, (count, context))
            precision, reasons["train.precision"] = faster_precision(encoder, rows)
            train = train.model_copy(update={"precision": precision})
        if train.compile == "auto":
            problem = compiler_problem(torch.device("cpu"))
            reasons["train.compile"] = f"tried: {problem or 'torch.compile works here, and the run is long'}"
            train = train.model_copy(update={"compile": not problem})
        return method, self.resolved._replace(config=config.model_copy(update={"train": train}), reasons=reasons)

    def fingerprint(self) -> tuple[int, str]:
        """Of the documents and of how they were cut and tokenised."""
        store = self.corpus.store
        of_both = hashlib.sha256(f"{store.fingerprint}\n{store.tokenizer_sha256}".encode())
        return self.corpus.census.documents, of_both.hexdigest()

    def write_beginning(self, folder: RunFolder, resolved: Resolved) -> None:
        """Nothing beside what every run has: the tokens lie where other runs find them too."""

    def batches(self, config: cfg.RunConfig, shard: Shard) -> tuple[TokenRows, Render]:
        """Rows of tokens, and what makes of them what the method receives."""
        train, context = config.train, config.data.size[1]
        specs = self._specs(context)
        data = TokenRows(
            self.corpus.store.train,
            self._cuts(context, train.seed),
            specs,
            seed=train.seed,
            batch_size=cfg.settled(train.batch_size),
            wrap=wrap_of(self.corpus),
            shard=shard,
        )
        return data, lambda rows, device: render_rows(rows, specs, device)

    def note_unreadable(self, folder: RunFolder, unreadable: Mapping[int, str], console: Console) -> None:
        """Nothing: what cannot be read is left out, and said, when the corpus is tokenised."""

    def finish(self, folder: RunFolder, method: Method, resolved: Resolved, console: Console) -> None:
        """Write ``encoder/``, and measure what it foretells of the held-out text."""
        which, encoder = method.representation()
        assert isinstance(encoder, TextEncoder)  # build_method made it, and a method gives back that or a copy
        config, name = resolved.config, resolved.config.method["name"]
        extra = {
            "weights": which,
            "method": name,
            "seed": config.train.seed,
            "name": config.encoder.name,
            "head": bool(self.cls.language_head),
        }
        save_text_encoder(encoder, self.corpus.tokenizer, folder.encoder, context=config.data.size[1], extra=extra)
        if self.cls.language_head:
            measure_held_out(folder, encoder, self.corpus, config, console)


def with_its_tokenizer(config: cfg.TextRunConfig) -> cfg.TextRunConfig:
    """The configuration with the tokenizer of the encoder, where that is a directory: it knows no other ids.

    Raises:
        UsageError: another tokenizer is asked for, or the directory has none and none is given.
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
            f"data.tokenizer {given}: the encoder in {folder} knows no ids but its own\ngive its tokenizer.json"
        )
    if own.is_file() and load_tokenizer(given).get_vocab() != load_tokenizer(own).get_vocab():
        raise UsageError(f"data.tokenizer {given}: not that of the encoder in {folder}\nleave it out, and that is used")
    return config


def open_text(data: Any, config: cfg.TextDataConfig, console: Console, *, pieces: bool) -> Corpus:
    """The tokenised corpus of a configuration."""
    return open_corpus(data, config, pieces=pieces, cache=cache_folder(config), console=console)


def cache_folder(config: cfg.TextDataConfig) -> Path:
    """Where tokenised corpora lie: the folder asked for, or the user's cache."""
    if config.cache != "auto":
        return Path(config.cache)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfstudy" / "tokens"
    except RuntimeError:
        raise EnvironmentFault("no home folder to keep tokens in\nname a folder: --set data.cache=FOLDER") from None


def wrap_of(corpus: Corpus) -> Wrap:
    """The special ids of rows; a tokenizer without some of them is asked for none of its rows that need them."""
    special = corpus.special
    return Wrap(*(-1 if number is None else number for number in (special.cls, special.sep, special.pad)))


def text_encoder(config: cfg.TextRunConfig, corpus: Corpus) -> TextEncoder:
    """The encoder that a resolved configuration asks for, with random weights unless it names a directory."""
    cls, settings = method_class(config.method["name"]), config.encoder
    special = corpus.special
    vocabulary = Vocabulary(corpus.store.vocab_size, special.pad, special.cls, special.sep, special.mask, special.eos)
    changes = {name: getattr(settings, name) for name in ("width", "depth", "heads")}
    encoder = build_text_encoder(
        settings.name,
        vocabulary,
        head=bool(cls.language_head),
        context=config.data.size[1],
        dropout=cfg.settled(settings.dropout),
        changes={name: value for name, value in changes.items() if value != "auto"},
        pool=settings.pool,
    )
    if encoder.causal and encoder.pool == "cls":  # it sees nothing but itself, and is the same of every text
        raise UsageError(f"encoder.pool cls: the first token in {settings.name!r} sees no other\nuse mean or last")
    encoder.starts_word = torch.from_numpy(starts_word(corpus.tokenizer))
    return encoder
