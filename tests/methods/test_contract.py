"""The contract, on every stepped method in the folder and every kind of encoder."""

import pytest
import torch

from selfstudy.encoders.timm import EncoderSpec, build_encoder
from selfstudy.errors import UsageError
from selfstudy.methods import FAMILIES, available, method_class
from selfstudy.methods.base import DataFacts, Method
from selfstudy.nn.ema import EMA
from selfstudy.views.spec import Labels, View
from tests.methods.contract import CHECKS, forward, optimizer_step, sgd, teachers, views_for
from tests.methods.small_encoders import (
    ENCODERS,
    IMAGE_METHODS,
    STEPPED,
    TEXT_METHODS,
    ConvNet,
    builder,
    fitting,
    small_config,
    text,
)


def _make(name, encoder=None, **options):
    cls = method_class(name)
    build = builder(name, encoder or fitting(name)[0])

    def make():
        torch.manual_seed(0)
        return cls(build(**options), cls.Config(**small_config(name)))

    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "encoder"), [(name, encoder) for name in STEPPED for encoder in fitting(name)])
def test_contract(name, encoder, check):
    check(_make(name, encoder))


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_other_numbers_of_channels_work(name, channels):
    method = _make(name, channels=channels)()
    output = forward(method, views_for(type(method), channels=channels))
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("name", [name for name in IMAGE_METHODS if method_class(name).reads.any_count])
def test_methods_that_say_so_take_any_number_of_views(name):
    method = _make(name)()
    losses = [forward(method, views_for(type(method), views={"count": count})).loss for count in (2, 3)]
    assert torch.isfinite(torch.stack(losses)).all() and losses[0] != losses[1]


@pytest.mark.parametrize("name", STEPPED)
def test_a_teachers_entropy_comes_with_the_most_that_it_can_be(name):
    method = _make(name)()
    entropy = forward(method, views_for(type(method))).metrics.get("teacher_entropy")
    assert (entropy is None) == (method.uniform_entropy() is None)
    assert entropy is None or 0 < float(entropy) <= method.uniform_entropy()


@pytest.mark.parametrize("name", ["dino", "dinov2", "ibot", "lejepa", "msn", "swav"])
def test_small_views_may_be_of_any_number(name):
    cls = method_class(name)
    torch.manual_seed(0)
    method = cls(build_encoder(EncoderSpec("test_vit", (72, 72), patch_size=12)), cls.Config(**small_config(name)))
    kinds = sum(isinstance(spec, View) for spec in cls.default_views((72, 72)))
    views = views_for(cls, size=(72, 72), batch=4, views=[*[{}] * (kinds - 1), {"count": 1}])
    assert sum(view.shape[-1] == 36 for view in views) == 1 and torch.isfinite(forward(method, views).loss)


@pytest.mark.parametrize("size", [(36, 44), (33, 47)])
@pytest.mark.parametrize("encoder", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_real_encoders_and_odd_sizes_work(name, encoder, size):
    """Sides that no patch size divides are for the other encoders."""
    cls = method_class(name)
    is_vit = encoder == "test_vit"
    if cls.reads.tokens > is_vit or (is_vit and size == (33, 47)):
        pytest.skip("refused with a message, tested elsewhere")
    torch.manual_seed(0)
    method = cls(
        build_encoder(EncoderSpec(encoder, size, patch_size=4 if is_vit else "auto")), cls.Config(**small_config(name))
    )
    output = forward(method, views_for(cls, size=size, batch=4))
    output.loss.backward()
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("name", STEPPED)
def test_methods_on_patches_refuse_an_encoder_without_them(name):
    cls = method_class(name)
    if "tokens" in cls.reads.needs:
        with pytest.raises(UsageError, match="needs an encoder with tokens, got ConvNet\nuse a vision transformer"):
            cls(ENCODERS["convnet"](), cls.Config(**small_config(name)))


@pytest.mark.parametrize("name", TEXT_METHODS)
def test_methods_for_text_refuse_what_reads_none_or_the_other_way(name):
    cls = method_class(name)
    with pytest.raises(UsageError, match="learns from text, ConvNet encodes something else\nuse a text encoder"):
        cls(ConvNet(), cls.Config(**small_config(name)))
    if cls.reads.head:
        other = "bert" if cls.reads.head == "causal" else "gpt2"
        with pytest.raises(UsageError, match="cannot train an encoder that sees"):
            cls(text(other, head=True), cls.Config(**small_config(name)))


@pytest.mark.parametrize("name", available())
def test_a_method_says_its_family_and_whether_it_reads_labels(name):
    cls = method_class(name)
    asks = [isinstance(spec, Labels) for spec in cls.default_views((32, 32))]
    assert cls.family in FAMILIES and any(asks) == ("labels" in cls.reads.needs)


@pytest.mark.parametrize("name", STEPPED)
def test_two_micro_batches_move_the_teacher_once(name, monkeypatch):
    moves = []
    original = EMA.move_toward
    monkeypatch.setattr(EMA, "move_toward", lambda self, *args: (moves.append(self), original(self, *args)))
    method = _make(name)()
    optimizer_step(method, views_for(type(method)), sgd(method), micro=2)
    assert len(moves) == len(teachers(method))


@pytest.mark.parametrize("name", STEPPED)
def test_every_recipe_is_valid_from_tiny_to_huge_data(name):
    cls = method_class(name)
    for images, batch, steps in [(2, 2, 1), (100, 16, 50), (50_000, 256, 900), (14_000_000, 4096, 300_000)]:
        recipe = cls.recipe(DataFacts(images, (32, 32), 3, batch, steps, 128))
        cls.Config(**recipe.method)
        assert recipe.optimizer["lr"] > 0
        assert all(key.split(".")[0] in ("optimizer", "method") for key in recipe.reasons)


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"unknown method 'simcrl'; did you mean 'simclr'\?"):
        method_class("simcrl")


def test_classes_are_found_by_the_papers_name():
    from selfstudy import methods

    assert methods.SimCLR is method_class("simclr")
    with pytest.raises(AttributeError, match="did you mean 'BarlowTwins'"):
        methods.BarlowTwin  # noqa: B018


def test_a_method_from_the_users_own_module_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        '"""Mine."""\nfrom selfstudy.methods.base import Method, MethodConfig\n'
        "class Mine(Method):\n    class Config(MethodConfig):\n        pass\n"
    )
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "mine.py").rename(tmp_path / "pkg" / "mine.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert method_class("pkg.mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("name", "found"),
    [("simclr", 2), ("byol", 2), ("fastsiam", 4), ("swav", 2)]
    + [("mae", "tokens"), ("supcon", "labels"), ("bert", "text"), ("w_mse", "draws"), ("rotation", "images")],
)
def test_a_method_says_how_many_equal_views_it_compares_or_what_else_it_needs(name, found):
    cls = method_class(name)
    if isinstance(found, int):
        assert cls.equal_views() == found
        return
    text = f"{cls.__name__} needs {found}, and these data only have views\nuse a method that compares views, such as"
    with pytest.raises(UsageError, match=text):
        cls.equal_views()


def test_a_method_whose_views_differ_in_size_is_for_images():
    class Two(Method):
        @staticmethod
        def default_views(size, channels=3):
            return [View(size), View((8, 8))]

    with pytest.raises(UsageError, match="Two needs images, and"):
        Two.equal_views()


def test_facts_about_the_data_keep_their_earlier_names():
    facts = DataFacts(inputs=500, size=(1, 64), channels=1, batch_size=8, total_steps=9)
    assert facts == DataFacts(500, (1, 64), 1, 8, 9)
    assert (facts.num_images, facts.image_size) == (500, (1, 64))
