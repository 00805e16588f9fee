"""One table of settings: options, keywords, the rule of --resume and the rule of compare."""

import itertools
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field

import selfstudy
from selfstudy import config as cfg
from selfstudy import modalities
from selfstudy.config import DataConfig, EncoderConfig, Keyword, RunConfig, SameResult
from selfstudy.errors import UsageError
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods.reads import Reads
from selfstudy.modalities import SETTINGS
from selfstudy.runs import settings
from selfstudy.runs.resuming import _changes
from selfstudy.runs.settings import gather, keywords_of, merge, rows_of, table, without_effect
from selfstudy.text.config import TextRunConfig

# Written by runs of 2026-11, before a run kept its modality.
OLD_IMAGES = """\
data:
  path: sample:digits
  image_size: [28, 28]
  channels: 1  # what the images have
  mean: [0.305855]  # measured
  std: [0.376279]  # measured
  views: auto
  cache_gigabytes: auto
  max_bad: 0.1
method:
  name: simclr
  temperature: 0.2
  hidden_dim: 2048
  projection_dim: 128
encoder:
  name: resnet10t
  stem: stock  # faster, and ahead in a short run; for a long one at 28 px use --stem small
  patch_size: auto
  pool: auto
  pretrained: false
optimizer:
  name: adamw  # the method's recipe
  lr: 0.0007071067811865476  # 0.002 x sqrt(batch size 32 / 256)
  weight_decay: 0.0001  # the method's recipe
  momentum: 0.9  # adamw has no use for it
  beta2: 0.999  # the method's recipe
  warmup: 0.05  # the method's recipe
  final_lr: 0.0
  clip: 0.0  # the method's recipe
train:
  duration: 20 steps
  batch_size: 32
  accumulate: 1  # methods compare the images of a whole batch
  precision: fp32
  compile: false  # no faster for images on processors; on a GPU try it
  device: cpu
  devices: 1
  workers: 0
  seed: 0
  checkpoint_every: 2 minutes
  keep: 2
  log_every: 1
health:
  every: 50
  on_collapse: warn
"""
OLD_TEXT = """\
data:
  path: corpus
  documents: auto
  column: auto
  held_out: 0.05
  tokenizer: auto
  vocab_size: auto
  context: 64
  cache: tokens
method:
  name: gpt
  across_documents: false
encoder:
  name: llama-tiny  # 81,920 tokens to read
  width: 32
  depth: 2
  heads: 2
  dropout: 0.0  # usual today
  pool: mean
optimizer:
  name: adamw  # the method's recipe
  lr: 0.012  # 0.003 x sqrt(batch size 8 / 32) x 256 / width 32
  weight_decay: 0.1  # the method's recipe
  momentum: 0.9  # adamw has no use for it
  beta2: 0.95  # the method's recipe
  warmup: 0.05  # the method's recipe
  final_lr: 0.0
  clip: 1.0  # the method's recipe
train:
  duration: 20 steps
  batch_size: 8
  accumulate: 1  # at most 2,048 tokens at once keep memory small
  precision: fp32
  compile: false
  device: cpu
  devices: 1
  workers: 0
  seed: 0
  checkpoint_every: 2 minutes
  keep: 2
  log_every: 1
health:
  every: 50
  on_collapse: warn
"""


class SignalDataConfig(DataConfig):
    """Settings of a modality that another package brings."""

    rate: Annotated[int, Field(description="Samples per second."), Keyword("rate")] = 100
    buffer: Annotated[int, Field(description="Samples in memory."), SameResult()] = 8
    image_size: Annotated[int | None, Field(description="Samples of a window."), Keyword("window")] = None


class SignalRunConfig(RunConfig):
    data: SignalDataConfig


def _build(models=SETTINGS, nested=None, **keywords):
    return modalities.validated(gather("photos", nested or {}, keywords=keywords, models=models), models)


@pytest.mark.parametrize("model", [*SETTINGS.values(), SignalRunConfig])
def test_every_setting_says_what_it_is_in_a_sentence(model):
    for row in rows_of(model):
        assert row.description[:1].isalpha() and row.description.endswith("."), row.key


def test_the_keywords_are_the_ones_that_users_know():
    assert {name: row.key for name, (_, row) in keywords_of(SETTINGS).items()} == {
        "modality": "data.modality",
        "method": "method.name",
        "encoder": "encoder.name",
        "stem": "encoder.stem",
        "image_size": "data.image_size",
        "views": "data.views",
        "tokenizer": "data.tokenizer",
        "context": "data.context",
        "held_out": "data.held_out",
        **dict.fromkeys(("epochs", "steps", "minutes", "samples"), "train.duration"),
        "batch_size": "train.batch_size",
        "precision": "train.precision",
        "device": "train.device",
        "workers": "train.workers",
        "seed": "train.seed",
    }


def test_the_settings_without_an_effect_are_these_and_no_others():
    shared = {"data.path", "train.device", "train.workers", "train.checkpoint_every", "train.keep", "train.log_every"}
    shared |= {"health.every", "health.on_collapse", "data.modality"}
    images, text = {"data.cache_gigabytes", "data.max_bad"}, {"data.cache", "data.column"}
    assert without_effect({"image": ImageRunConfig}) == shared | images
    assert without_effect({"text": TextRunConfig}) == shared | text
    assert without_effect(SETTINGS) == shared | images | text


def test_a_setting_that_changes_results_in_one_modality_is_never_ignored():
    class Other(DataConfig):
        buffer: Annotated[int, Field(description="Samples that are averaged.")] = 8

    class OtherRun(RunConfig):
        data: Other

    assert "data.buffer" in without_effect({"signal": SignalRunConfig})
    assert "data.buffer" not in without_effect({"signal": SignalRunConfig, "other": OtherRun})


def test_a_row_holds_what_its_field_says():
    (row,) = [row for row in rows_of(ImageRunConfig) if row.key == "train.workers"]
    assert row.values == ("auto", "int") and row.default == "auto" and not row.changes_result
    assert [keyword.name for keyword in row.keywords] == ["workers"]
    found = {row.key: row for row in rows_of(TextRunConfig)}
    assert found["data.path"].default is None and found["method.name"].default == "simclr"
    assert found["train.precision"].values == ("auto", "fp32", "bf16")


def test_the_table_names_a_modality_where_they_differ():
    found = {row.key: row for row in table(SETTINGS)}
    assert found["train.seed"].description == "Seed of every random number of the run."
    assert found["data.context"].description == "Text: Longest row, in tokens."
    assert found["encoder.name"].description.startswith("Images: Any timm name; ")
    assert " Text: Layout and size, such as bert-mini" in found["encoder.name"].description
    assert found["encoder.pool"].values == ("auto", "own", "token", "avg", "mean", "cls", "last")


def test_a_setting_has_the_keywords_and_values_of_every_modality():
    found = {row.key: row for row in table({**SETTINGS, "signal": SignalRunConfig})}["data.image_size"]
    assert [keyword.name for keyword in found.keywords] == ["image_size", "window"]
    assert found.values == ("auto", "int", "tuple", "null")


def test_each_setting_has_one_row_and_groups_stay_together():
    keys = [row.key for row in table(SETTINGS)]
    groups = [key.partition(".")[0] for key in keys]
    assert len(keys) == len(set(keys))
    assert list(dict.fromkeys(groups)) == [group for group, _ in itertools.groupby(groups)]


def test_a_keyword_sets_its_setting_and_one_of_duration_its_unit():
    built = _build(batch_size="64", image_size="96x64", minutes=2.5, workers=None, set={"train.keep": 3})
    assert built.train.batch_size == 64 and built.data.image_size == (96, 64) and built.train.duration == "2.5 minutes"
    assert built.train.workers == "auto" and built.train.keep == 3
    assert _build(nested={"train": {"seed": 1}}, seed=2, set={"train.seed": 3}).train.seed == 3


def test_a_setting_that_is_a_mapping_replaces_the_one_below_as_a_whole():
    base, steps = {"optimizer": {"schedule": "cosine", "lr": 1.0}}, {"name": "steps", "factor": 0.5}
    merged = merge(base, {"optimizer": {"schedule": {"name": "wsd", "decay": 0.1}}})
    assert merged == {"optimizer": {"schedule": {"name": "wsd", "decay": 0.1}, "lr": 1.0}}
    assert merge(merged, {"optimizer": {"schedule": steps}})["optimizer"]["schedule"] == steps
    with pytest.raises(UsageError, match="^setting 'optimizer': got 3, a group of settings is needed"):
        merge(merged, {"optimizer": 3})


def test_an_unknown_keyword_is_refused_with_the_nearest_one():
    with pytest.raises(
        UsageError, match="^unknown setting 'methd'; did you mean 'method'.\nknown: modality, image_size, views"
    ):
        _build(methd="simclr")


def test_two_keywords_of_one_setting_are_refused():
    with pytest.raises(UsageError, match="^steps and epochs were both given, and each sets train.duration\ngive one"):
        _build(steps=3, epochs=2)
    assert _build(steps=3, epochs=None).train.duration == "3 steps"


def test_a_run_without_data_is_refused():
    with pytest.raises(UsageError, match="^no data given\nname a folder"):
        gather(None, {}, keywords={}, models=SETTINGS)


def test_a_group_of_settings_is_a_mapping_and_a_method_has_a_name():
    with pytest.raises(UsageError, match="^setting 'train': got 3, a group of settings is needed\nwrite train.KEY="):
        _build(nested={"train": 3})
    with pytest.raises(UsageError, match="^setting 'method.name': got 3, a name is needed"):
        _build(nested={"method": {"name": 3}})


def test_a_misspelt_setting_of_the_method_is_refused_and_a_wrong_value_too():
    with pytest.raises(UsageError, match="unknown setting 'method.temprature'; did you mean 'temperature'"):
        _build(set={"method.temprature": 1})


def test_another_package_brings_the_settings_of_its_modality(monkeypatch):
    class Signals(Reads):
        modality = "signal"

    class Wave:
        reads, Config = Signals(), settings.method_class("simclr").Config

    monkeypatch.setattr(settings, "method_class", lambda name: Wave)
    built = _build({**SETTINGS, "signal": SignalRunConfig}, rate=50)
    assert isinstance(built, SignalRunConfig) and built.data.rate == 50
    with pytest.raises(UsageError, match="^unknown modality 'signal'\nknown: images,"):
        _build()


def test_an_encoder_of_another_modality_needs_nothing_but_a_name():
    class Named(EncoderConfig):
        layers: Annotated[Literal[1, 2], Field(description="Layers.")] = 1

    class NamedRun(RunConfig):
        data: SignalDataConfig
        encoder: Named = Named()

    config = cfg.validate(NamedRun, {"data": {"path": "x"}, "encoder": {"layers": 2}})
    assert config.encoder == Named(name="auto", layers=2)
    assert "encoder.layers" in cfg.flatten(config.model_dump())


def _refused(text, model, key, value):
    """The settings that a run with this config.yaml refuses to change on --resume."""
    written = yaml.safe_load(text)
    asked = cfg.with_overrides(written, [])
    cfg.set_key(asked, key, value)
    return list(_changes(written, cfg.validate(model, asked)))


@pytest.mark.parametrize(
    ("text", "model", "key", "value"),
    [
        (OLD_IMAGES, ImageRunConfig, "data.cache_gigabytes", 2.0),
        (OLD_IMAGES, ImageRunConfig, "data.max_bad", 0.5),
        (OLD_IMAGES, ImageRunConfig, "train.workers", 2),
        (OLD_IMAGES, ImageRunConfig, "health.on_collapse", "stop"),
        (OLD_TEXT, TextRunConfig, "data.cache", "elsewhere"),
        (OLD_TEXT, TextRunConfig, "data.column", "text"),
        (OLD_TEXT, TextRunConfig, "train.device", "cuda"),
        (OLD_TEXT, TextRunConfig, "train.duration", "30 steps"),
        (OLD_TEXT, TextRunConfig, "data.modality", "text"),
        (OLD_TEXT.replace("  compile: false\n", ""), TextRunConfig, "train.compile", True),  # older than the setting
    ],
)
def test_these_may_change_on_resume(text, model, key, value):
    assert _refused(text, model, key, value) == []


@pytest.mark.parametrize(
    ("text", "model", "key", "value"),
    [
        (OLD_IMAGES, ImageRunConfig, "optimizer.lr", 0.5),
        (OLD_IMAGES, ImageRunConfig, "train.seed", 1),
        (OLD_IMAGES, ImageRunConfig, "data.image_size", 32),
        (OLD_IMAGES, ImageRunConfig, "train.duration", "10 steps"),
        (OLD_IMAGES, ImageRunConfig, "train.duration", "30 epochs"),
        (OLD_TEXT, TextRunConfig, "data.documents", "line"),
        (OLD_TEXT, TextRunConfig, "encoder.pool", "last"),
    ],
)
def test_these_may_not_change_on_resume(text, model, key, value):
    assert _refused(text, model, key, value) == [key]


@pytest.mark.parametrize("text", [OLD_IMAGES, OLD_TEXT])
def test_the_settings_of_an_old_run_load_as_they_were_written(text):
    written = cfg.flatten(yaml.safe_load(text))
    config = modalities.validated(yaml.safe_load(text))
    found = cfg.flatten(config.model_dump(mode="json"))
    modality = found.pop("data.modality")
    assert {key: found[key] for key in written} == written and modality in SETTINGS
    defaults = cfg.flatten(
        {"optimizer": type(config.optimizer)().model_dump(), "encoder": type(config.encoder)().model_dump()}
    )
    assert found.pop("data.shrink_to", "auto") == "auto"  # a run that has its other settings reads images whole
    assert {key: found[key] for key in found.keys() - written.keys()}.items() <= defaults.items()


def test_a_run_older_than_its_modality_resumes_with_more_memory_and_another_setting_is_refused(tmp_path):
    given = {
        "encoder": "resnet10t",
        "image_size": 16,
        "batch_size": 8,
        "device": "cpu",
        "precision": "fp32",
        "steps": 2,
    }
    run = selfstudy.pretrain("sample:digits", out=tmp_path / "run", **given)
    file = run.folder / "config.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "modality:" not in line))
    with pytest.raises(
        UsageError, match=r"^--resume cannot change these settings:\n  optimizer.lr: .* -> 0.5\nleave them"
    ):
        selfstudy.pretrain("sample:digits", out=run.folder, resume=True, set={"optimizer.lr": 0.5})
    free = {"data.cache_gigabytes": 2.0, "train.log_every": 1}
    selfstudy.pretrain("sample:digits", out=run.folder, resume=True, steps=3, set=free)
    assert "cache_gigabytes: 2.0" in file.read_text() and "modality: " in file.read_text()
