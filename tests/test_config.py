import pytest
import yaml

from selfstudy import config as cfg
from selfstudy.errors import FileRefusedError, UsageError
from selfstudy.images.config import ImageRunConfig


def _base(**groups):
    return {"data": {"path": "photos"}, **groups}


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"unknown setting 'train\.batchsize'; did you mean 'batch_size'\?"):
        cfg.validate(ImageRunConfig, _base(train={"batchsize": 3}))


def test_a_value_of_the_wrong_kind_is_refused_with_its_key_and_itself():
    text = r"^setting 'train\.batch_size': got 'big'; input should be 'auto' or a valid integer, unable to parse"
    with pytest.raises(UsageError, match=text):
        cfg.validate(ImageRunConfig, _base(train={"batch_size": "big"}))


def test_a_method_without_a_name_is_simclr():
    assert cfg.validate(ImageRunConfig, _base(method={"temperature": 0.1})).method == {
        "name": "simclr",
        "temperature": 0.1,
    }


def test_a_run_does_not_last_a_share_of_itself():
    with pytest.raises(UsageError, match=r"train.duration='5 %' is a share of itself\nwrite '10 epochs'"):
        cfg.validate(ImageRunConfig, _base(train={"duration": "5 %"}))
    assert cfg.validate(ImageRunConfig, _base(train={"checkpoint_every": "5 %"})).train.checkpoint_every == "5 %"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0, "optimizer.lr=0 would train nothing\nset a number above 0"),
        ("lr", float("nan"), "optimizer.lr=nan"),
        (
            "warmup",
            500,
            "optimizer.warmup=500\nset a fraction, at least 0 and below 1; for a number of steps, divide it",
        ),
        ("warmup", -0.1, "optimizer.warmup=-0.1"),
        ("momentum", 1, "optimizer.momentum=1\nset a fraction, at least 0 and below 1$"),
        ("beta2", 1.5, "optimizer.beta2=1.5"),
    ],
)
def test_settings_of_the_optimizer_have_their_ranges(name, value, message):
    with pytest.raises(UsageError, match=message):
        cfg.validate(ImageRunConfig, _base(optimizer={name: value}))


def test_overrides_are_dotted_and_later_ones_win():
    settings = cfg.with_overrides(_base(), ["optimizer.lr=1e-3", "data.image_size=[96, 64]", "optimizer.lr=2e-3"])
    config = cfg.validate(ImageRunConfig, settings)
    assert config.optimizer.lr == 2e-3
    assert config.data.image_size == (96, 64)


@pytest.mark.parametrize("text", ["optimizer.lr", "=3", "data.path.deeper=1"])
def test_an_override_of_another_form_is_refused(text):
    with pytest.raises(UsageError):
        cfg.with_overrides(_base(), [text])


def test_flat_settings_have_two_levels_and_groups_are_mappings():
    flat = cfg.flatten({"optimizer": {"schedule": {"name": "wsd"}, "lr": 1.0}, "train": {}})
    assert flat == {"optimizer.schedule": {"name": "wsd"}, "optimizer.lr": 1.0}
    with pytest.raises(UsageError, match="^setting 'train': got 3, a group of settings is needed\nwrite train.KEY="):
        cfg.flatten({"train": 3})


def test_yaml_round_trip_keeps_every_value_and_shows_the_reasons():
    config = cfg.validate(
        ImageRunConfig, _base(data={"path": "a: b # c", "image_size": (96, 64)}, train={"batch_size": 128})
    )
    text = cfg.to_yaml(config, {"train.batch_size": "for 1,000 images"})
    assert "batch_size: 128  # for 1,000 images" in text
    assert cfg.validate(ImageRunConfig, yaml.safe_load(text)) == config


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['true']", "- a\n- b", "a: [", "\x00"])
def test_a_yaml_file_that_is_not_a_plain_mapping_is_refused(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(FileRefusedError, match="run.yaml"):
        cfg.read_yaml(file)


def test_a_huge_yaml_file_is_refused_and_a_missing_one_named(tmp_path):
    (tmp_path / "big.yaml").write_text("a: " + "x" * 1_100_000)
    with pytest.raises(FileRefusedError, match="more than 1 MB"):
        cfg.read_yaml(tmp_path / "big.yaml")
    with pytest.raises(UsageError, match="does not exist"):
        cfg.read_yaml(tmp_path / "none.yaml")


def test_health_is_read_every_fifty_steps_unless_it_is_set():
    assert cfg.validate(ImageRunConfig, _base()).health.every == 50
    assert cfg.validate(ImageRunConfig, _base(health={"every": 7})).health.every == 7
