"""The contract, on every method in the folder and every kind of encoder."""

import pytest
import torch

from selfstudy.methods import available, method_class
from selfstudy.nn.ema import EMA
from tests.methods.contract import CHECKS, forward, optimizer_step, sgd, teachers, views_for
from tests.methods.small_encoders import ENCODERS, SMALL_CONFIG


def _make(name, encoder="convnet", **options):
    cls = method_class(name)

    def make():
        torch.manual_seed(0)
        return cls(ENCODERS[encoder](**options), cls.Config(**SMALL_CONFIG.get(name, {})))

    return make


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", available())
def test_contract(name, encoder, check):
    check(_make(name, encoder))


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("name", available())
def test_other_numbers_of_channels_work(name, channels):
    method = _make(name, channels=channels)()
    output = forward(method, views_for(type(method), channels=channels))
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("name", available())
def test_two_micro_batches_move_the_teacher_once(name, monkeypatch):
    moves = []
    original = EMA.move_toward
    monkeypatch.setattr(EMA, "move_toward", lambda self, *args: (moves.append(self), original(self, *args)))
    method = _make(name)()
    optimizer_step(method, views_for(type(method)), sgd(method), micro=2)
    assert len(moves) == len(teachers(method))


@pytest.mark.parametrize("name", available())
def test_every_recipe_is_valid_from_tiny_to_huge_data(name):
    from selfstudy.methods.base import DataFacts

    cls = method_class(name)
    for images, batch, steps in [(2, 2, 1), (100, 16, 50), (50_000, 256, 900), (14_000_000, 4096, 300_000)]:
        recipe = cls.recipe(DataFacts(images, (32, 32), 3, batch, steps))
        cls.Config(**recipe.method)
        assert recipe.optimizer["lr"] > 0
        assert all(key.split(".")[0] in ("optimizer", "method") for key in recipe.reasons)


def test_an_unknown_method_is_refused_with_the_nearest_name():
    from selfstudy.errors import UsageError

    with pytest.raises(UsageError, match=r"unknown method 'simcrl'; did you mean 'simclr'\?"):
        method_class("simcrl")


def test_classes_are_found_by_the_papers_name():
    from selfstudy import methods

    assert methods.SimCLR is method_class("simclr")
    with pytest.raises(AttributeError, match="did you mean 'SimCLR'"):
        methods.SimClr  # noqa: B018


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
