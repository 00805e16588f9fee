"""The rooms of the package and who may import whom, held to docs/design.md."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "selfstudy"
_ASSEMBLY = {"errors", "config", "ops", "encoders", "views", "methods", "data", "train", "evaluate", "export"} | {
    "run_folder",
    "embedder",
    "resolve",
    "pretraining",
    "evaluation",
    "inspection",
    "records",
    "watching",
    "work",
    "image_work",
}
ALLOWED = {
    "atomic": set(),
    "errors": set(),
    "config": {"errors"},
    "run_folder": {"errors"},
    "ops": {"errors"},
    "nn": {"ops"},
    "encoders": {"nn", "ops", "errors"},
    "views": {"ops", "errors"},
    "methods": {"nn", "ops", "encoders", "views", "errors"},
    "data": {"views", "config", "ops", "errors"},
    "train": {"methods", "data", "ops", "config", "errors"},
    "evaluate": {"encoders", "data", "ops", "errors"},
    "export": {"encoders", "data", "ops", "views", "errors", "text_embedder"},
    "embedder": {"data", "encoders", "evaluate", "views", "errors"},
    "resolve": {"config", "data", "encoders", "errors", "methods"},
    "losses": {"methods", "ops"},
    "records": {"config", "resolve", "run_folder", "work"},
    "report": {"config", "errors", "evaluate", "run_folder"},
    "settings": {"config", "data", "errors", "resolve"},
    "work": {"config", "data", "methods", "ops", "resolve", "run_folder", "train"},
    "image_work": _ASSEMBLY - {"pretraining", "evaluation", "inspection", "records"},
    "text_work": _ASSEMBLY - {"pretraining", "evaluation", "inspection", "records"} | {"held_out"},
    "held_out": {"config", "data", "encoders", "evaluate", "run_folder"},
    "watching": {"config", "errors", "evaluate", "methods", "run_folder", "train"},
    "pretraining": _ASSEMBLY - {"evaluation", "inspection"} | {"text_work"},
    "finetuning": {"config", "evaluate", "run_folder", "train"},
    "evaluation": _ASSEMBLY - {"inspection"} | {"finetuning"},
    "inspection": _ASSEMBLY - {"evaluation"},
    "text_embedder": {"data", "encoders", "errors", "evaluate"},
    "text_evaluation": {"data", "encoders", "evaluate", "finetuning", "run_folder", "text_embedder", "work"},
    "embedding": {"config", "data", "embedder", "errors", "export", "run_folder", "text_embedder"},
    "api": _ASSEMBLY | {"embedding", "report", "settings", "text_embedder", "text_evaluation"},
    "demo": {"api"},
    "cli": {"api", "config", "errors", "methods", "encoders", "data", "demo"},
}
ANY_ROOM_MAY = {"atomic"}  # it imports nothing of ours
WITHOUT_TORCH = ["atomic.py", "errors.py", "config.py", "run_folder.py", "cli.py", "__init__.py", "methods/__init__.py"]
WITHOUT_TORCH += ["evaluate/results.py", *(f"report/{name}.py" for name in ("comparison", "figures", "page", "record"))]


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of everything a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if not top_level_only else tree.body
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _room(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def _ours(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("selfstudy.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_it_may(path):
    room = _room(path)
    rooms = {p.stem if p.suffix else p.name for p in SOURCE.iterdir()}
    imported = (_ours(_imports(path)) & rooms) - {room}
    allowed = ALLOWED[room] | ANY_ROOM_MAY
    assert imported <= allowed, f"{room} may not import {imported - allowed}"


def test_train_imports_no_concrete_method():
    for path in (SOURCE / "train").glob("*.py"):
        methods = {name for name in _imports(path) if name.startswith("selfstudy.methods.")}
        assert all(name.startswith("selfstudy.methods.base") for name in methods), path


def test_no_method_imports_another():
    for path in (SOURCE / "methods").glob("*.py"):
        if path.stem == "__init__":
            continue
        methods = {name for name in _imports(path) if name.startswith("selfstudy.methods.")}
        assert all(name.startswith("selfstudy.methods.base") for name in methods), path


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_these_files_do_not_import_torch_when_loaded(name):
    assert not any(n.split(".")[0] == "torch" for n in _imports(SOURCE / name, top_level_only=True))


FORBIDDEN_CALLS = {"eval", "exec", "system", "extractall"}
FORBIDDEN_NAMES = {"pickle", "dill", "joblib", "cloudpickle", "torchvision.io", "marshal", "shelve"}
FORBIDDEN_WORDS = ["LOAD_TRUNCATED_IMAGES", "MAX_IMAGE_PIXELS", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "followlinks=True"]


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_uses_a_loader_that_runs_code(path):
    assert not _imports(path) & FORBIDDEN_NAMES
    text = path.read_text(encoding="utf-8")
    assert not [word for word in FORBIDDEN_WORDS if word in text]
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called.rpartition(".")[2] not in FORBIDDEN_CALLS or called.endswith(".eval"), called
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "torch.load":
            assert keywords.get("weights_only") == "True"
        if called in {"np.load", "numpy.load"}:
            assert keywords.get("allow_pickle") == "False"
        assert called != "yaml.load" and keywords.get("shell") != "True"


def _functions(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _length(function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_and_functions_keep_to_the_house_sizes():
    lengths = []
    for path in _files():
        text = path.read_text(encoding="utf-8")
        limit = 150 if _room(path) == "methods" and path.stem not in ("__init__", "base") else 400
        assert text.count("\n") <= limit, path
        for function in _functions(ast.parse(text)):
            lengths.append(_length(function))
            assert lengths[-1] <= 60, f"{path}: {function.name} has {lengths[-1]} lines"
    assert sorted(lengths)[len(lengths) // 2] <= 10
