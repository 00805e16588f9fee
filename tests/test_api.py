"""Tests of the public functions from start to end, on small real data."""

import html
import io
import json
import shutil
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image
from rich.console import Console

import selfstudy
from selfstudy.config import read_yaml
from selfstudy.errors import DataError, EnvironmentFault, RunFolderError, TrainingError, UsageError
from selfstudy.probes.finetune import RECIPE
from selfstudy.probes.verdict import Kind

QUICK = {"encoder": "resnet10t", "steps": 3, "batch_size": 8, "image_size": 16, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return selfstudy.pretrain("sample:digits", out=tmp_path_factory.mktemp("api") / "run", **QUICK)


def test_a_run_leaves_every_file_of_the_design(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "config.yaml",
        "environment.json",
        "inputs.parquet",
        "metrics.jsonl",
        "health.jsonl",
        "views.png",
        "checkpoints",
        "encoder",
    }
    metrics = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 3 and np.isfinite(metrics[-1]["loss"])
    assert json.loads((run.folder / "health.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_the_resolved_configuration_has_no_auto_and_says_why(run):
    text = (run.folder / "config.yaml").read_text()
    assert ": auto" not in text
    assert "channels: 1  # what the images have" in text
    assert read_yaml(run.folder / "config.yaml")["train"]["duration"] == "3 steps"


def test_an_export_does_not_overwrite_the_encoder(run):
    with pytest.raises(RunFolderError, match="holds the encoder of a run"):
        run.export("timm", run.folder / "encoder")


def test_the_encoder_of_another_run_and_foreign_files_are_not_overwritten(run, tmp_path):
    shutil.copytree(run.folder / "encoder", tmp_path / "other" / "encoder")
    with pytest.raises(RunFolderError, match="holds the encoder of a run"):
        run.export("timm", tmp_path / "other" / "encoder", overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="photos already holds files\n--overwrite"):
        run.export("timm", tmp_path / "photos")
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["a.txt"]
    assert run.export("timm", tmp_path / "photos", overwrite=True).max_abs_difference <= 1e-5


def test_a_recipe_is_what_the_run_then_takes(run):
    text = selfstudy.recipe("sample:digits", **QUICK)
    assert text == (run.folder / "config.yaml").read_text()


@pytest.mark.parametrize(("size", "precision"), [(16, "fp32"), (32, "bf16")])
def test_very_small_images_are_trained_in_float32(size, precision, monkeypatch):
    monkeypatch.setattr("selfstudy.images.resolve.faster_precision", lambda *args, **options: ("bf16", "tried"))
    text = selfstudy.recipe("sample:digits", **QUICK | {"image_size": size, "precision": "auto"})
    assert f"precision: {precision}" in text


def test_views_are_changed_by_name_by_file_and_by_value(tmp_path):
    (tmp_path / "views.yaml").write_text("flip: 0.0\nscale: [0.5, 1.0]\n")
    assert "views: {flip: 0.0, scale: [0.5, 1.0]}" in selfstudy.recipe(
        "sample:digits", views=tmp_path / "views.yaml", **QUICK
    )
    assert "views: weak" in selfstudy.recipe("sample:digits", views="weak", **QUICK)
    with pytest.raises(UsageError, match="unknown field 'flp' of a view; did you mean 'flip'"):
        selfstudy.pretrain("sample:digits", views={"flp": 1}, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_method_on_patches_gets_a_vision_transformer_and_refuses_another(tmp_path):
    (tmp_path / "patches.py").write_text(
        '"""Patches."""\nfrom selfstudy.methods.base import Method, MethodConfig, Recipe\n'
        "from selfstudy.views.spec import View\n"
        "class Patches(Method):\n    needs_tokens = True\n    pooling = 'avg'\n"
        "    class Config(MethodConfig):\n        pass\n"
        "    @staticmethod\n    def default_views(size, channels=3):\n        return [View(size)]\n"
        "    @staticmethod\n    def recipe(facts):\n"
        "        return Recipe({'name': 'adamw', 'lr': 1e-3, 'weight_decay': 0}, {}, {})\n"
    )
    (tmp_path / "own").mkdir()
    (tmp_path / "patches.py").rename(tmp_path / "own" / "patches.py")
    (tmp_path / "own" / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        given = QUICK | {"method": "own.patches"}
        with pytest.raises(UsageError, match="Patches needs an encoder with tokens, got resnet10t"):
            selfstudy.recipe("sample:digits", **given)
        text = selfstudy.recipe("sample:digits", **{k: v for k, v in given.items() if k != "encoder"})
    assert "name: vit_small_patch16_224  # the method needs tokens" in text and "pool: avg" in text


def test_a_loaded_encoder_embeds_paths_pictures_arrays_and_tensors_equally(run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    encoder = selfstudy.load(run.folder)
    forms = [str(tmp_path / "a.png"), Image.fromarray(pixels), pixels, torch.from_numpy(pixels)[None]]
    vectors = encoder.embed(forms)
    assert vectors.shape == (4, 512) and vectors.dtype == np.float32
    assert np.allclose(vectors, vectors[0], atol=1e-6)
    assert np.allclose(encoder.embed(tmp_path / "a.png"), vectors[:1], atol=1e-5)


def test_embedding_the_wrong_number_of_channels_is_refused(run):
    with pytest.raises(DataError, match="3 channels"):
        selfstudy.load(run.folder).embed(np.zeros((16, 16, 3), np.uint8))


def test_embeddings_are_parquet_with_aligned_ids_and_metadata(run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        Image.new("L", (16, 16), 50 * number).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"broken")
    rows = run.embed(folder, tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    assert rows == 4 and table["id"].to_pylist() == ["0.png", "1.png", "3.png", "4.png"]
    assert table.schema.field("embedding").type.list_size == 512
    direct = selfstudy.load(run.folder).embed([folder / "3.png"])
    assert np.allclose(table["embedding"][2].as_py(), direct[0], atol=1e-5)
    about = json.loads(table.schema.metadata[b"selfstudy"])
    assert about["encoder"]["method"] == "simclr"
    assert "2.png" in (tmp_path / "e.parquet.unreadable.jsonl").read_text()


def test_embeddings_replace_no_file_unless_asked_and_create_their_folder(run, tmp_path):
    out = tmp_path / "new" / "e.parquet"
    assert run.embed("sample:digits", out) == run.embed("sample:digits", out, overwrite=True)
    with pytest.raises(RunFolderError, match="e.parquet exists already\n--overwrite"):
        run.embed("sample:digits", out)
    with pytest.raises(UsageError, match="new is a folder\nname a file in it"):
        run.embed("sample:digits", out.parent, overwrite=True)


def _rows(results):
    """The rows of a table, without the share of the largest class."""
    return [name for name in dict.fromkeys(score.features for score in results) if name != "majority class"]


def test_evaluation_prints_baselines_and_the_encoder(run):
    file = run.folder / "evaluations.jsonl"
    before = len(file.read_text().splitlines()) if file.exists() else 0
    results = run.evaluate("sample:digits", probe=["knn"])
    assert _rows(results) == ["raw pixels", "patches", "untrained encoder, statistics set", "pretrained encoder"]
    assert {score.probe for score in results} >= {"knn", "knn-whitened"}
    knn = [score for score in results if score.probe == "knn" and score.features != "majority class"]
    assert len(knn) == 4 and all(10 < score.accuracy <= 100 and "k-NN k=20" in score.protocol for score in knn)
    *lines, said = [json.loads(line) for line in file.read_text().splitlines()[before:]]
    assert len(lines) == len(results) and (lines[0]["data"], lines[0]["test"]) == ("sample:digits", None)
    assert [line["value"] for line in lines] == [score.accuracy for score in results] and lines[0]["unit"] == "%"
    assert lines[0]["interval"][0] < lines[0]["value"] < lines[0]["interval"][1]
    assert said["sentence"] == results.verdict == str(results).splitlines()[-1]
    assert said["verdict"] in get_args(Kind) and said["step"] == lines[0]["step"] == 3
    assert results.verdict in html.unescape(run.report().read_text(encoding="utf-8"))


def test_a_second_evaluation_does_not_measure_free_rows_again(run, monkeypatch):
    console = Console(record=True, file=io.StringIO(), width=500)
    first = selfstudy.evaluate(run.folder, "sample:digits", probe=["knn"], console=console)
    assert "kept" not in console.export_text()
    monkeypatch.setattr("selfstudy.images.free.untrained", lambda _: pytest.fail("built again"))
    again = selfstudy.evaluate(run.folder, "sample:digits", probe=["knn"], console=console)
    assert list(again) == list(first) and again is not first
    shown = console.export_text().splitlines()[1:]
    lines = [
        line for line in shown if " s to embed " not in line and " steps done" not in line
    ]  # only on slow machines
    rows = ("raw pixels", "patches", "untrained encoder, statistics set")
    assert lines == [
        *(f"         {row}: kept from an earlier evaluation: knn" for row in rows),
        "         pretrained encoder",
    ]


def test_without_a_home_folder_the_console_says_that_free_rows_are_measured_each_time(run, monkeypatch):
    def homeless():
        raise EnvironmentFault("no home folder for a cache\nname a folder")

    monkeypatch.setattr("selfstudy.probes.kept.user_cache", homeless)
    console = Console(record=True, file=io.StringIO(), width=500)
    for _ in range(2):
        selfstudy.evaluate(
            run.folder, (np.zeros((10, 8, 8), np.uint8), np.arange(10) % 2), probe=["knn"], console=console
        )
    said = "free rows are not kept for later evaluations: no home folder for a cache"
    assert console.export_text().count(said) == 2 and "kept from" not in console.export_text()


def test_a_run_is_reported_in_its_folder_and_compared_with_others(run, tmp_path):
    other = selfstudy.pretrain("sample:digits", out=tmp_path / "other", **QUICK | {"method": "vicreg"})
    run.evaluate("sample:digits", probe=["knn"])
    page = run.report().read_text(encoding="utf-8")
    assert run.report() == run.folder / "report.html" and "untrained encoder" in page and "<svg" in page
    comparison = selfstudy.compare([run.folder, other.folder], out=tmp_path / "new" / "both.html")
    assert "vicreg" in str(comparison) and any(number.probe == "knn" for number in comparison.numbers)
    assert "vicreg" in (tmp_path / "new" / "both.html").read_text(encoding="utf-8")
    with pytest.raises(RunFolderError, match="exists already"):
        selfstudy.compare([run.folder, other.folder], out=tmp_path / "new" / "both.html")
    selfstudy.compare([run.folder, other.folder], out=tmp_path / "new" / "both.html", overwrite=True)


@pytest.fixture
def asked(monkeypatch):
    """Record for every new network whether timm's weights were requested; a network without memory is not one."""
    create, asked = timm.create_model, []

    def download(name, *, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", download)
    return asked


def test_a_run_that_began_with_timms_weights_is_compared_with_them(tmp_path, asked):
    run = selfstudy.pretrain("sample:digits", out=tmp_path / "r", set={"encoder.pretrained": True}, **QUICK)
    assert asked.count(True) == 1
    results = run.evaluate("sample:digits", probe=["knn"])
    assert asked[-1] and asked.count(True) == 2  # the trained encoder is loaded from its folder
    assert _rows(results)[2:] == ["timm's weights", "pretrained encoder"]


def test_timms_weights_are_fetched_again_only_by_a_resume_without_a_checkpoint(tmp_path, asked):
    begun = {"out": tmp_path / "r", "set": {"encoder.pretrained": True}, **QUICK}
    selfstudy.pretrain("sample:digits", **begun)
    settings, described = ((tmp_path / "r" / name).read_text() for name in ("config.yaml", "encoder/config.json"))
    selfstudy.pretrain("sample:digits", resume=True, **begun | {"steps": 4})
    assert asked.count(True) == 1
    assert (tmp_path / "r" / "config.yaml").read_text() == settings.replace("3 steps", "4 steps")
    again = json.loads((tmp_path / "r" / "encoder" / "config.json").read_text())
    digests = {name: again[name] for name in ("sha256", "whitening_sha256")}
    assert again == json.loads(described) | digests and again["pretrained"]
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    selfstudy.pretrain("sample:digits", resume=True, **begun | {"steps": 4})
    assert asked.count(True) == 2


def test_images_too_many_for_memory_are_evaluated_from_disk_and_stay_aligned(run, tmp_path, monkeypatch):
    chance = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(30):
            pixels = chance.integers(0, 60, (16, 16), dtype=np.uint8)
            pixels[:, :8] += np.uint8(150 * (name == "dog"))
            pixels[:, 8:] += np.uint8(150 * (name == "cat"))
            Image.fromarray(pixels).save(tmp_path / name / f"{number:02d}.png")
    whole = (tmp_path / "cat" / "05.png").read_bytes()
    (tmp_path / "cat" / "05.png").write_bytes(whole[:-30])  # its header is complete
    for memory in (2**30, 0):
        monkeypatch.setattr("selfstudy.images.scan.usable_memory", lambda memory=memory: memory)
        pixels = next(iter(run.evaluate(tmp_path, probe=["knn"])))
        assert pixels.features == "raw pixels" and pixels.accuracy == 100


def test_a_table_is_evaluated_by_the_column_that_is_named(run, tmp_path):
    for number in range(30):
        Image.new("L", (16, 16), 10 + 120 * (number % 2)).save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{'dark' if number % 2 else 'bright'}" for number in range(30)]
    (tmp_path / "list.csv").write_text("\n".join(["path,kind", *rows]))
    scores = run.evaluate(tmp_path / "list.csv", probe=["linear"], label_column="kind")
    assert next(iter(scores)).accuracy == 100 and "24 train / 6 test" in next(iter(scores)).protocol
    with pytest.raises(DataError, match="no column 'label' of labels\nit has: path, kind"):
        run.evaluate(tmp_path / "list.csv", probe=["linear"])
    with pytest.raises(UsageError, match="text column 'kind': .* is a run on images"):
        run.evaluate(tmp_path / "list.csv", text_column="kind")


def test_fine_tuning_is_compared_with_the_untrained_encoder_and_changes_no_other_number(run, monkeypatch):
    monkeypatch.setattr("selfstudy.images.evaluate.RECIPE", RECIPE._replace(epochs=2, steps=1))
    images = torch.randint(0, 256, (80, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = images, torch.arange(80) % 2
    files = {file: file.read_bytes() for file in (run.folder / "encoder").iterdir()}
    console = Console(record=True, file=io.StringIO(), width=500)
    both = selfstudy.evaluate(run.folder, data, probe=["finetune", "knn"], console=console)
    tuned = [score for score in both if score.probe == "finetune"]
    assert [score.features for score in tuned] == ["untrained encoder, statistics set", "pretrained encoder"]
    assert "2 epochs, batch 64, random crop of 50 to 100 % of the area, flip, fp32, seed 0" in tuned[0].protocol
    assert "64 train / 16 test" in tuned[0].protocol and str(both).splitlines()[1].split()[-1] == "-"
    assert "untrained encoder, statistics set, fine-tuned: epoch 2 of 2, loss" in console.export_text()
    again = [*run.evaluate(data, probe=["knn"]), *run.evaluate(data, probe=["finetune"])]
    assert sorted(again) == sorted(both)
    assert {file: file.read_bytes() for file in files} == files


def test_large_data_are_cut_to_a_sample_unless_all_are_asked_for(run, monkeypatch):
    monkeypatch.setattr("selfstudy.images.evaluate.MOST_TRAIN", 40)
    monkeypatch.setattr("selfstudy.images.evaluate.MOST_TEST", 20)
    images = torch.randint(0, 256, (80, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data, test = (images, torch.arange(80) % 2), (images[:30], torch.arange(30) % 2)
    cut, whole = (next(iter(run.evaluate(data, test=test, probe=["knn"], full=full))) for full in (False, True))
    assert "40 train / 20 test; stratified sample of 40 of 80 train and 20 of 30 test" in cut.protocol
    assert whole.protocol.endswith("80 train / 30 test")


def test_train_and_test_with_different_classes_are_refused(run, tmp_path):
    for part, names in (("a", ["cat", "dog"]), ("b", ["cat", "owl"])):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                Image.new("L", (16, 16), number * 40).save(tmp_path / part / name / f"{number}.png")
    with pytest.raises(DataError, match="only in train: dog\nonly in test: owl"):
        run.evaluate(tmp_path / "a", test=tmp_path / "b")


def test_classes_are_matched_by_name_not_by_number(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)
    for number, image in enumerate(images):
        (tmp_path / "folder" / str(number)).mkdir(parents=True)  # sorted as 0, 1, 10, 11, 2, ...
        for copy in range(2):
            Image.fromarray(image).save(tmp_path / "folder" / str(number) / f"{copy}.png")
    np.savez(tmp_path / "test.npz", images=images, labels=np.arange(12))
    scores = run.evaluate(tmp_path / "folder", test=tmp_path / "test.npz", probe=["knn"])
    assert next(iter(scores)).accuracy == 100  # raw pixels


def test_a_used_folder_is_refused_and_overwriting_keeps_the_old_run(run, tmp_path):
    first = selfstudy.pretrain("sample:digits", out=tmp_path / "r", **QUICK)
    with pytest.raises(RunFolderError, match="already holds files"):
        selfstudy.pretrain("sample:digits", out=tmp_path / "r", **QUICK)
    selfstudy.pretrain("sample:digits", out=tmp_path / "r", overwrite=True, **QUICK)
    kept = list(tmp_path.glob("r.old-*"))
    assert len(kept) == 1 and (kept[0] / "encoder").is_dir() and first.folder == tmp_path / "r"


def test_resuming_a_finished_run_changes_nothing(run):
    files = [run.folder / "encoder" / "model.safetensors", run.folder / "config.yaml"]
    before = [file.read_bytes() for file in files]
    selfstudy.pretrain("sample:digits", out=run.folder, resume=True)
    assert [file.read_bytes() for file in files] == before


def test_a_run_that_was_extended_stays_extended(tmp_path):
    run = selfstudy.pretrain("sample:digits", out=tmp_path / "r", **QUICK)
    before = (run.folder / "config.yaml").read_text()
    selfstudy.pretrain("sample:digits", out=run.folder, resume=True, steps=4)
    assert (run.folder / "config.yaml").read_text() == before.replace("duration: 3 steps", "duration: 4 steps")
    selfstudy.pretrain("sample:digits", out=run.folder, resume=True)
    assert json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 4


@pytest.mark.parametrize("left", [None, "metrics.jsonl"])
def test_resuming_without_a_folder_takes_the_default_one_and_its_settings(run, tmp_path, monkeypatch, left):
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "runs" / "sample-digits-simclr"
    shutil.copytree(run.folder, copy)
    lines = (copy / "metrics.jsonl").read_text()
    if left:  # killed before its first checkpoint
        shutil.rmtree(copy / "checkpoints")
    assert selfstudy.pretrain("sample:digits", resume=True).folder == copy.relative_to(tmp_path)
    steps = [json.loads(line)["step"] for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line)["step"] for line in lines.splitlines()]


def test_impossible_settings_leave_the_run_folder_free(tmp_path):
    for key, value in (("data.views", {"colour": 1}), ("train.accumulate", 3)):
        with pytest.raises(UsageError):
            selfstudy.pretrain("sample:digits", out=tmp_path / "run", set={key: value}, **QUICK)
    assert selfstudy.pretrain("sample:digits", out=tmp_path / "run", **QUICK).folder == tmp_path / "run"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 1}, r"train\.seed: 0 -> 1"),
        ({"batch_size": 4}, r"train\.batch_size: 8 -> 4"),
        ({"method": "moco"}, r"method\.name: simclr -> moco"),
        ({"encoder": "resnet18"}, r"encoder\.name: resnet10t -> resnet18"),
        ({"set": {"optimizer.lr": 0.5}}, r"optimizer\.lr: .* -> 0\.5"),
    ],
)
def test_a_changed_setting_on_resume_is_refused_with_both_values(run, change, text):
    with pytest.raises(UsageError, match=text):
        selfstudy.pretrain("sample:digits", out=run.folder, resume=True, **change)


def test_a_run_older_than_a_setting_resumes(tmp_path):
    run = selfstudy.pretrain("sample:digits", out=tmp_path / "run", **QUICK)
    file = run.folder / "config.yaml"
    older = [line for line in file.read_text().splitlines() if not line.startswith("  compile:")]
    file.write_text("\n".join(older))
    longer = selfstudy.pretrain("sample:digits", out=run.folder, resume=True, **QUICK | {"steps": QUICK["steps"] + 1})
    assert "compile: false" in file.read_text() and longer.folder == run.folder


def test_changed_data_on_resume_is_refused(run, tmp_path):
    pixels = np.zeros((50, 20, 20), np.uint8)
    np.save(tmp_path / "other.npy", pixels)
    with pytest.raises((UsageError, DataError)):
        selfstudy.pretrain(tmp_path / "other.npy", out=run.folder, resume=True)


def test_a_diverging_run_stops_and_keeps_what_was_whole(tmp_path):
    settings = {"optimizer.lr": 1e30, "optimizer.name": "sgd", "train.checkpoint_every": "1 steps"}
    with pytest.raises(TrainingError, match="usual causes"):
        selfstudy.pretrain("sample:digits", out=tmp_path / "r", set=settings, **(QUICK | {"steps": 20}))
    assert not (tmp_path / "r" / "encoder").exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"methd": "simclr"}, "unknown setting 'methd'; did you mean 'method'"),
        ({"method": "simcrl"}, "unknown method 'simcrl'; did you mean 'simclr'"),
        ({"encoder": "resnet19"}, "unknown encoder 'resnet19'; did you mean"),
        ({"steps": 3, "epochs": 2}, "steps and epochs were both given"),
        ({"set": {"method.temprature": 1}}, r"unknown setting 'method\.temprature'; did you mean 'temperature'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_written(tmp_path, settings, text):
    with pytest.raises(UsageError, match=text):
        selfstudy.pretrain("sample:digits", out=tmp_path / "r", **settings)
    assert not (tmp_path / "r" / "config.yaml").exists()


def test_a_method_runs_in_a_loop_of_the_users_own():
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 6))
    encoder.embed_dim = 6
    simclr = selfstudy.methods.SimCLR
    method = simclr(encoder, simclr.Config(temperature=0.2))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    from selfstudy.ops.schedules import Progress

    for step in range(2):
        views = [torch.randn(4, 3, 8, 8) for _ in range(2)]
        method(views, Progress(step, 2)).loss.backward()
        optimizer.step()


def test_python_data_can_be_a_tensor(tmp_path):
    images = torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8)
    run = selfstudy.pretrain(images, out=tmp_path / "r", **QUICK)
    assert run.encoder.embed(images[0]).shape == (1, 512)


def test_functions_keep_their_names_when_rooms_of_the_same_name_are_imported():
    from importlib import import_module

    for room in ("selfstudy.probes.knn", "selfstudy.data.embeddings", "selfstudy.losses"):
        import_module(room)
    assert all(callable(getattr(selfstudy, name)) for name in ("evaluate", "export"))
    assert callable(selfstudy.losses.nt_xent)
