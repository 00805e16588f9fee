"""Text encoders: networks of transformers, from a configuration or a directory, behind one small interface.

transformers computes and defines the file format, so an encoder that is trained here opens there complete. ``segments``
separate the documents of a row: no token attends to another document, and positions start again in each.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfstudy.encoders.base import LanguageEncoder, Vocabulary
from selfstudy.encoders.text_catalogue import CAUSAL, LAYOUTS, POOLED, TextShape, first_position, shape_of
from selfstudy.errors import FileRefusedError, UsageError, first_line

_HEADS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "modernbert": lambda model, states: model.decoder(model.head(states)),
    "bert": lambda model, states: model.cls(states),
    "roberta": lambda model, states: model.lm_head(states),
    "gpt2": lambda model, states: model.lm_head(states),
    "llama": lambda model, states: model.lm_head(states),
}
_DROPOUTS = {
    "modernbert": ("embedding_dropout", "attention_dropout", "mlp_dropout"),
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "roberta": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "gpt2": ("embd_pdrop", "attn_pdrop", "resid_pdrop"),
    "llama": ("attention_dropout",),
}
_ROTARY = {"modernbert", "llama"}  # attention in a segment depends on differences of positions only


class TextEncoder(LanguageEncoder):
    """A network of transformers whose token states are pooled into one vector for each text.

    Args:
        network: a language model of one of :data:`LAYOUTS`, or the same without its head.
        vocabulary: the facts about its tokenizer.
        pool: ``mean`` over the tokens of a text, ``cls`` for its first token, ``last`` for its last one.
        starts_word: (V,) bool, True for entries that begin a word; all of them when left out.

    Attributes:
        embed_dim: the width D.
        context: the length T of the longest row.
        layout: one of :data:`LAYOUTS`.
        depth: the number of layers.
        causal: True if a token sees only earlier tokens.
    """

    def __init__(
        self, network: nn.Module, vocabulary: Vocabulary, *, pool: str = "mean", starts_word: Tensor | None = None
    ) -> None:
        super().__init__()
        words = torch.ones(vocabulary.size, dtype=torch.bool) if starts_word is None else starts_word
        self.register_buffer("starts_word", words, persistent=False)
        self.network, self.vocabulary, self.pool = network, vocabulary, pool
        config: Any = network.config
        self.layout: str = config.model_type
        self.embed_dim = int(config.hidden_size)
        self._first = first_position(self.layout, config.pad_token_id)
        self.context = int(config.max_position_embeddings) - self._first
        self.depth = int(config.num_hidden_layers)
        self.causal = self.layout in CAUSAL

    def states(self, ids: Tensor, segments: Tensor | None = None, *, cache: Any = None) -> Tensor:
        """Return the last layer's states (B, T, D).

        Args:
            ids: token ids (B, T) int64, padded with the vocabulary's ``pad`` where texts differ in length.
            segments: (B, T) int64, the number of each token's document in its row, rising from left to right. When left
                out, all tokens of a row see one another.
            cache: a ``transformers.DynamicCache`` for a causal network. It holds the first tokens of ``ids``, none at
                first: only the states of the others are returned, and the cache then holds those too.
        """
        mask = self._mask(ids, segments)
        cached = 0 if cache is None else cache.get_seq_length()
        given: dict[str, Any] = {"input_ids": ids[:, cached:], "attention_mask": mask}
        if segments is not None and self.layout not in _ROTARY:
            given["position_ids"] = positions(segments) + self._first
        if self.causal:
            given |= {"past_key_values": cache, "use_cache": cache is not None}
        states: Tensor = self._trunk(**given).last_hidden_state
        return states

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile each layer, with the arguments of ``torch.compile``; equal layers are compiled once.

        The embeddings are not compiled. If they were, processors would sum gradients in an order that changes.
        """
        layers = next(m for m in self.modules() if isinstance(m, nn.ModuleList) and len(m) == self.depth)
        for layer in layers:
            layer.compile(*args, **kwargs)

    @property
    def _trunk(self) -> nn.Module:
        """Return the network without its head."""
        trunk: nn.Module = getattr(self.network, "base_model", self.network)
        return trunk

    def _mask(self, ids: Tensor, segments: Tensor | None) -> Any:
        """Return which tokens (B, 1, T, T) each token sees; (B, T) if only padding is hidden; None if nothing is."""
        if segments is not None and bool((segments[:, -1] != segments[:, 0]).any()):
            same = segments[:, None, :, None] == segments[:, None, None, :]  # (B, 1, T, T)
            return same.tril() if self.causal else self._within_windows(same)
        padded = None if self.vocabulary.pad is None else ids == self.vocabulary.pad
        return None if padded is None or not bool(padded.any()) else (~padded).long()

    def _within_windows(self, seen: Tensor) -> Tensor | dict[str, Tensor]:
        """Return ``seen`` (B, 1, T, T), reduced for layers in which a token sees a window around it."""
        config: Any = self.network.config
        if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
            return seen
        place = torch.arange(seen.shape[-1], device=seen.device)
        near = (place[:, None] - place).abs() <= config.sliding_window  # (T, T)
        return {"full_attention": seen, "sliding_attention": seen & near}

    def logits(self, states: Tensor) -> Tensor:
        """Return the scores (..., V) of every vocabulary entry for ``states`` (..., D).

        Raises:
            UsageError: the network has no language model head.
        """
        if not self._has_head():
            raise UsageError("this encoder has no language model's head\nuse a run of bert or gpt")
        return _HEADS[self.layout](self.network, states)

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of :meth:`logits`, with an embedding that is also the weight of the head."""
        return [value for part in self.network.children() if part is not self._trunk for value in part.parameters()]

    def forward(self, ids: Tensor) -> Tensor:
        """Return one vector (B, D) float32 for each text of ``ids`` (B, T) int64."""
        return self.pooled(self.states(ids), ids)

    def untrained(self) -> "TextEncoder":
        """Return the same network with random weights."""
        network: Any = self.network
        with_pooler = {"add_pooling_layer": False} if self.layout in POOLED and not self._has_head() else {}
        other = type(network)(network.config, **with_pooler)
        return TextEncoder(other, self.vocabulary, pool=self.pool, starts_word=self.starts_word)

    def _has_head(self) -> bool:
        return self.network.get_output_embeddings() is not None  # type: ignore[operator]  # transformers' own, untyped

    def pooled(self, states: Tensor, ids: Tensor) -> Tensor:
        """Return one vector (B, D) float32 for each row, from ``states`` (B, T, D) without the padding in ``ids``."""
        pad = self.vocabulary.pad
        return self.pooled_over(states, torch.ones_like(ids, dtype=torch.bool) if pad is None else ids != pad)

    def pooled_over(self, states: Tensor, real: Tensor) -> Tensor:
        """Return one vector (B, D) float32 for each row, from ``states`` (B, T, D) where ``real`` (B, T) is True."""
        states = states if states.dtype == torch.float64 else states.float()
        if self.pool == "cls":
            return states[:, 0]
        if self.pool == "last":
            last = real.shape[1] - 1 - real.flip(1).int().argmax(dim=1)  # (B,)
            return states[torch.arange(len(states), device=states.device), last]
        weights = real.to(states.dtype)[..., None]  # (B, T, 1)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def positions(segments: Tensor) -> Tensor:
    """Return the position (B, T) int64 of every token in its own document, from 0, for ``segments`` (B, T)."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(begins, index, 0).cummax(dim=1).values


def segments_of(ids: Tensor, separator: int) -> Tensor:
    """Return the number (B, T) int64 of every token's document in its row; a separator begins the next document."""
    return (ids == separator).cumsum(dim=1)


def build_text_encoder(
    name: str,
    vocabulary: Vocabulary,
    *,
    head: bool,
    context: int,
    dropout: float | None = None,
    changes: Mapping[str, int] | None = None,
    pool: str = "mean",
) -> TextEncoder:
    """Return a text encoder with random weights, or with those of a directory that transformers wrote.

    Args:
        name: a layout and a size, such as ``bert-mini``, or the path of a directory.
        vocabulary: the facts about the tokenizer.
        head: True if it needs a language model head.
        context: the length T of the longest row it must take.
        dropout: the dropout of every layer in training; when left out that of the directory, or none.
        changes: ``width``, ``depth`` or ``heads``, where they differ from the size's own.
        pool: see :class:`TextEncoder`.

    Raises:
        UsageError: an unknown name, or a width that the heads do not divide.
        FileRefusedError: the directory cannot be used.
    """
    if Path(name).is_dir():
        network = _from_directory(Path(name), head=head, dropout=dropout)
        encoder = TextEncoder(network, vocabulary, pool=pool)
        _require_fit(name, encoder, context, changes or {})
        return encoder
    from selfstudy.encoders.text_attention import NAME  # transformers takes a second to import

    layout, shape = shape_of(name, changes or {})
    config, with_head, without = _classes(layout)
    settings = _settings(layout, shape, vocabulary, context, dropout or 0.0)
    network = (with_head if head else without)(config(**settings, attn_implementation=NAME))
    return TextEncoder(network, vocabulary, pool=pool)


def _require_fit(name: str, encoder: TextEncoder, context: int, changes: Mapping[str, int]) -> None:
    """Refuse settings that do not fit the network of a directory."""
    config: Any = encoder.network.config
    if changes:
        raise UsageError(f"encoder.{next(iter(changes))}: the network in {name} has its own\nleave it out")
    if encoder.vocabulary.size > config.vocab_size:
        raise UsageError(
            f"a tokenizer of {encoder.vocabulary.size:,} entries, the encoder in {name} knows {config.vocab_size:,}\n"
            "give the tokenizer that it was trained with"
        )
    if context > encoder.context and encoder.layout not in _ROTARY:
        raise UsageError(f"data.context {context}: rows of the encoder in {name} end at {encoder.context}\ngive less")


def _classes(layout: str) -> tuple[Any, Any, Any]:
    """Return the classes of a layout in transformers: configuration, language model and network without a head."""
    import transformers as hf

    def headless_bert(config: Any) -> Any:
        return hf.BertModel(config, add_pooling_layer=False)

    def headless_roberta(config: Any) -> Any:
        return hf.RobertaModel(config, add_pooling_layer=False)

    return {
        "modernbert": (hf.ModernBertConfig, hf.ModernBertForMaskedLM, hf.ModernBertModel),
        "bert": (hf.BertConfig, hf.BertForMaskedLM, headless_bert),
        "roberta": (hf.RobertaConfig, hf.RobertaForMaskedLM, headless_roberta),
        "gpt2": (hf.GPT2Config, hf.GPT2LMHeadModel, hf.GPT2Model),
        "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, hf.LlamaModel),
    }[layout]


def _settings(layout: str, shape: TextShape, vocabulary: Vocabulary, context: int, dropout: float) -> dict[str, Any]:
    """Return the settings of a network of this shape, under their names in transformers."""
    first = vocabulary.eos if layout in CAUSAL else vocabulary.cls
    last = vocabulary.eos if layout in CAUSAL else vocabulary.sep
    common = {
        "vocab_size": vocabulary.size,
        "pad_token_id": vocabulary.pad,
        "bos_token_id": first,
        "eos_token_id": last,
        "tie_word_embeddings": True,
        **dict.fromkeys(_DROPOUTS[layout], dropout),
    }
    if layout == "gpt2":
        return common | {
            "n_embd": shape.width,
            "n_layer": shape.depth,
            "n_head": shape.heads,
            "n_positions": context,
            "activation_function": "silu",  # it takes half the time of GELU, which GPT-2 approximates
        }
    usual = common | {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": context + first_position(layout, vocabulary.pad),
    }
    if layout == "llama":
        return usual | {"intermediate_size": _gated(shape.width, 8 / 3)}
    if layout == "modernbert":
        return usual | {
            "intermediate_size": _gated(shape.width, 1.5),  # ModernBERT-base has 1,152 of 768
            "global_attn_every_n_layers": 1,
            "cls_token_id": vocabulary.cls,
            "sep_token_id": vocabulary.sep,
        }
    return usual | {"intermediate_size": 4 * shape.width, "type_vocab_size": 1 if layout == "roberta" else 2}


def _gated(width: int, times: float) -> int:
    """Return the inner width of a gated layer, a multiple of 32."""
    return 32 * round(width * times / 32)


def _from_directory(folder: Path, *, head: bool, dropout: float | None) -> nn.Module:
    """Return the network in a directory that transformers wrote, without running its code or downloading anything."""
    import transformers as hf

    from selfstudy.encoders.text_attention import NAME

    try:
        config = hf.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise FileRefusedError(f"{folder}: not a transformers directory: {first_line(error)}") from None
    if config.model_type not in LAYOUTS:
        raise FileRefusedError(f"{folder}: holds {config.model_type!r}\nlayouts that can be used: {', '.join(LAYOUTS)}")
    if dropout is not None:
        config.update(dict.fromkeys(_DROPOUTS[config.model_type], dropout))
    auto: Any = hf.AutoModel
    if head:
        auto = hf.AutoModelForCausalLM if config.model_type in CAUSAL else hf.AutoModelForMaskedLM
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    options |= {"config": config, "dtype": torch.float32, "attn_implementation": NAME}
    try:
        if not head and config.model_type in POOLED:
            options["add_pooling_layer"] = False
        with quiet():
            network: nn.Module = auto.from_pretrained(folder, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise FileRefusedError(f"{folder}: its weights cannot be used: {first_line(error)}") from None
    return network


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bar of transformers' own, and no report of a head that is left out on purpose."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no types here
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here
