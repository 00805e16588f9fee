"""The values that say what methods read, the old flags, and a value of a modality from another package."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from selfstudy.errors import UsageError
from selfstudy.methods import available, method_class
from selfstudy.methods.base import Method, MethodConfig
from selfstudy.methods.reads import Images, Reads, Text, from_old_flags
from tests.methods.small_encoders import ConvNet, text


def _method(**attributes):
    return type("Mine", (Method,), {"Config": MethodConfig, **attributes})


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        ({"uses_labels": True, "any_count": True}, Images(labels=True, any_count=True)),
        (
            {"needs_tokens": True, "pooling": "avg", "largest_batch": 64},
            Images(tokens=True, pooling="avg", largest_batch=64),
        ),
        ({"modality": "image"}, Images()),
        ({"modality": "text"}, Text()),
        ({"modality": "text", "language_head": "causal"}, Text(head="causal")),
        (
            {"modality": "text", "reads_pieces": True, "dropout": 0.1, "smallest_batch": 128},
            Text(pieces=True, dropout=0.1, smallest_batch=128),
        ),
    ],
)
def test_a_method_with_the_old_flags_reads_the_same(flags, value):
    assert _method(**flags).reads == from_old_flags(flags) == value


def test_a_method_without_a_word_about_it_reads_plain_images():
    assert from_old_flags({"family": "contrastive"}) is None and _method().reads == Images()


def test_a_declared_value_wins_against_old_flags():
    assert _method(reads=Images(tokens=True), pooling="avg").reads == Images(tokens=True)


@pytest.mark.parametrize("attributes", [{"dropout": 0.1}, {"modality": "signals"}, {"modality": None}])
def test_attributes_that_are_no_flags_of_the_modality_say_nothing(attributes):
    assert from_old_flags(attributes) is None and _method(**attributes).reads == Images()
    assert from_old_flags({"needs_tokens": True, "dropout": 0.1}) == Images(tokens=True)


@pytest.mark.parametrize("name", available())
def test_the_list_of_methods_says_what_the_class_needs(name):
    assert available()[name].needs == method_class(name).reads.needs


def test_the_needs_of_images_are_named_one_after_the_other():
    assert (
        Images(tokens=True, labels=True).needs == "tokens, labels" and Images().needs == "" and Text().needs == "text"
    )


def test_a_value_of_another_modality_is_refused_by_name():
    assert Text.of(_method(reads=Text(head="causal"))).head == "causal"
    with pytest.raises(UsageError, match="Mine reads text, not images\nuse another method"):
        Images.of(_method(reads=Text()))


def test_a_modality_from_elsewhere_brings_its_own_value_and_takes_its_own_encoders():
    @dataclass(frozen=True, kw_only=True)
    class Signals(Reads):
        modality: ClassVar[str] = "signals"
        channels: int = 1

    method = _method(reads=Signals(channels=3))
    assert Signals.of(method).channels == 3 and method(ConvNet()).embed_dim == 16


def test_encoders_that_cannot_read_the_modality_are_refused():
    with pytest.raises(UsageError, match="M needs an encoder with tokens, got ConvNet\nuse a vision transformer"):
        Images(tokens=True).check(ConvNet(), "M")
    with pytest.raises(UsageError, match="M learns from text, ConvNet encodes something else\nuse a text encoder"):
        Text().check(ConvNet(), "M")
    for head, layout, sees in (("causal", "bert", "both sides"), ("masked", "gpt2", "what came before")):
        with pytest.raises(UsageError, match=f"M cannot train an encoder that sees {sees}\nuse one such as"):
            Text(head=head).check(text(layout, head=True), "M")
        Text(head=head).check(text("gpt2" if head == "causal" else "bert", head=True), "M")
