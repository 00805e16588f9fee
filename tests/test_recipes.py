"""Every recipe is a configuration that this version takes, and says where it comes from."""

from pathlib import Path

import pytest

from selfstudy import config as cfg
from selfstudy.images.config import ImageRunConfig
from selfstudy.methods import method_class

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
