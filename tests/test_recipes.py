"""Every recipe is a configuration that this version takes, and says where it comes from."""

from pathlib import Path

import pytest

from selfstudy import config as cfg
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods import method_class
from selfstudy.optim.shapes import shape_of
from selfstudy.views.presets import changed
from selfstudy.views.spec import Draws, View

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_recipe_is_valid_and_names_its_source(path):
    settings = cfg.read_yaml(path)
    cfg.set_key(settings, "data.path", "images/")
    config = cfg.validate(ImageRunConfig, settings)
    own = {key: value for key, value in config.method.items() if key != "name"}
    method_class(config.method["name"]).Config(**own)
    assert config.optimizer.name != "auto" and config.optimizer.lr != "auto"
    header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert ("Source:" in header and "Published:" in header) or ("Command:" in header and "Result:" in header)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_recipe_asks_for_existing_views_and_an_existing_schedule(path):
    settings = cfg.read_yaml(path)
    cfg.set_key(settings, "data.path", "images/")
    config = cfg.validate(ImageRunConfig, settings)
    method, side = method_class(config.method["name"]), config.data.image_size
    height, width = (side, side) if isinstance(side, int) else side
    views = changed(method.default_views((height, width)), config.data.views, any_count=method.reads.any_count)
    assert all(isinstance(spec, View | Draws) for spec in views)
    assert shape_of(config.optimizer.schedule)(0.0) == 1.0


def test_the_published_recipes_hold_what_only_parameter_groups_and_schedules_can_say():
    names = ("dino-vit-small", "dinov2-vit-large", "ibot-vit-small", "ijepa-vit-huge")
    optimizers = [cfg.read_yaml(FOLDER / "published" / f"{name}.yaml")["optimizer"] for name in names]
    assert [(one["weight_decay"], one["final_weight_decay"]) for one in optimizers] == [(0.04, 0.4)] * 4


def test_the_bias_rate_of_barlow_twins_is_theirs_for_a_loss_that_is_divided_by_the_dimensions():
    settings = cfg.read_yaml(FOLDER / "published" / "barlow-twins-resnet50.yaml")
    dims, optimizer = settings["method"]["projection_dim"], settings["optimizer"]
    assert optimizer["bias_lr"] == pytest.approx(0.0048 / 0.2 * dims)
    assert optimizer["weight_decay"] == pytest.approx(1e-6 / dims, rel=1e-4)
