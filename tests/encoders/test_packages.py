"""Image encoders of other packages: found by name, trained, saved and loaded, and refused where they do not fit."""

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import selfstudy
from selfstudy.cli import app
from selfstudy.encoders.packages import from_packages
from selfstudy.encoders.timm import EncoderSpec, build_encoder, decided, require_known
from selfstudy.errors import FileRefusedError, UsageError
from tests.installed import install


class TinyNet(nn.Module):
    """The mean colour through one layer."""

    def __init__(self, spec):
        super().__init__()
        self.layer, self.embed_dim = nn.Linear(spec.channels, 6), 6

    def forward(self, x):
        return self.layer(x.mean(dim=(2, 3)))


def without_width(spec):
    return nn.Identity()


def no_module(spec):
    return 3


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Install functions of this file as encoders, by name."""

    def make(**functions):
        targets = {name: f"{__name__}:{function}" for name, function in functions.items()}
        install(tmp_path / "installed", "nets", "1.2", {"selfstudy.encoders": targets})
        monkeypatch.syspath_prepend(tmp_path / "installed")
        from_packages.cache_clear()

    yield make
    monkeypatch.undo()
    from_packages.cache_clear()


def test_an_encoder_of_another_package_is_listed_with_its_origin_and_built(nets):
    nets(tinynet="TinyNet")
    lines = CliRunner().invoke(app, ["encoders"]).output.splitlines()
    assert lines[-1].split() == ["tinynet", "for", "images,", "from", "nets", "1.2"] and "resnet18" in lines[1]
    spec = EncoderSpec("tinynet", (16, 16), 1)
    encoder = build_encoder(spec)
    assert encoder.embed_dim == 6 and encoder(torch.zeros(2, 1, 16, 16)).shape == (2, 6)
    assert decided(spec)[1] == "the network's own, from nets 1.2"


def test_it_is_trained_saved_loaded_and_kept_from_libraries_without_it(nets, tmp_path):
    nets(tinynet="TinyNet")
    images = np.random.default_rng(0).random((16, 12, 12, 3), dtype=np.float32)
    run = selfstudy.pretrain(images, encoder="tinynet", steps=2, batch_size=8, out=tmp_path / "run")
    assert run.encoder.embed(images).shape == (16, 6)
    results = run.evaluate(_labelled(tmp_path, images), probe=["knn"])
    assert [score.features for score in results][2::2] == ["untrained encoder", "pretrained encoder"]
    for library in ("timm", "transformers"):
        text = f"encoder 'tinynet' comes from nets 1.2, and {library} has none\nuse --to onnx"
        with pytest.raises(UsageError, match=text):
            run.export(library, tmp_path / library)
    nets_are_gone = pytest.MonkeyPatch()
    with nets_are_gone.context() as patch:
        patch.setattr("selfstudy.encoders.timm.from_packages", dict)
        with pytest.raises(FileRefusedError, match="does not fit its own description: unknown encoder 'tinynet'"):
            _ = run.encoder


def _labelled(folder, images):
    file = folder / "labelled.npz"
    np.savez(file, images=(images * 255).astype(np.uint8), labels=np.arange(len(images)) % 2)
    return file


def test_a_name_of_timms_stays_timms(nets, capsys):
    nets(resnet10t="TinyNet")
    assert list(from_packages()) == ["patches"]
    text = "selfstudy.encoders 'resnet10t' of nets 1.2 is not used: the name is taken by timm"
    assert text in capsys.readouterr().err
    assert build_encoder(EncoderSpec("resnet10t", (32, 32))).embed_dim == 512


@pytest.mark.parametrize(
    ("function", "returned"), [("without_width", "Identity"), ("no_module", "int")], ids=["width", "module"]
)
def test_a_function_that_returns_no_encoder_is_refused(nets, function, returned):
    nets(odd=function)
    text = f"encoder 'odd' of nets 1.2: .*:{function} returned {returned}, not a module with an integer embed_dim"
    with pytest.raises(UsageError, match=text):
        build_encoder(EncoderSpec("odd", (16, 16)))


def test_a_name_that_cannot_be_saved_is_refused_before_training(nets):
    nets(**{"tiny-net": "TinyNet"})
    with pytest.raises(UsageError, match="encoder 'tiny-net' of nets 1.2: a name of an encoder holds letters, digits"):
        require_known("tiny-net")


def test_what_only_networks_of_timm_have_is_refused(nets):
    nets(tinynet="TinyNet")
    with pytest.raises(UsageError, match=r"encoder.pretrained is for networks of timm; tinynet \(nets 1.2\) is none"):
        build_encoder(EncoderSpec("tinynet", (16, 16), pretrained=True))
    with pytest.raises(UsageError, match="--stem small is for ResNets; tinynet has another stem"):
        build_encoder(EncoderSpec("tinynet", (16, 16), stem="small"))


def test_a_misspelt_name_is_told_the_nearest_one(nets):
    nets(tinynet="TinyNet")
    with pytest.raises(UsageError, match="unknown encoder 'tinynett'; did you mean 'tinynet'"):
        require_known("tinynett")
