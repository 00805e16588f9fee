"""The directory is opened by transformers alone, through the lines that the user is given."""

import pytest
import torch

from selfstudy.encoders.text_catalogue import LAYOUTS
from selfstudy.encoders.text_store import FACTS
from selfstudy.export.transformers import export_transformers
from selfstudy.text.embedder import TextEmbedder
from tests.export.text_encoders import saved


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_printed_lines_open_a_directory_for_transformers(tmp_path, layout):
    folder = saved(tmp_path / "encoder", layout)
    result = export_transformers(folder, tmp_path / "out")
    names: dict = {}
    exec(result.usage, names)
    states = names["model"].eval()(torch.arange(6, 12)[None]).last_hidden_state
    ours = TextEmbedder.load(folder, device="cpu").encoder.states(torch.arange(6, 12)[None])
    torch.testing.assert_close(states, ours, atol=1e-5, rtol=0)
    assert result.library == "transformers" and not [name for name in names["model"].state_dict() if "pooler" in name]


def test_the_directory_holds_the_encoders_files_without_our_own_description(tmp_path):
    folder = saved(tmp_path / "encoder", "bert")
    (folder / "notes").mkdir()
    out = export_transformers(folder, tmp_path / "out").path
    assert {file.name for file in out.iterdir()} == {file.name for file in folder.iterdir()} - {"notes", FACTS}
