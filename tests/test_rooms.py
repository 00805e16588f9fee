"""Tests of the rooms of the package: which room may import which, and the sizes and calls that are allowed."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "selfstudy"
# From the top down: a room imports rooms of lower floors only.
FLOORS = [
    {"cli"},
    {"demo"},
    {"api"},
    {"modalities"},
    {"export"},
    {"images", "text"},
    {"report", "losses"},
    {"runs"},
    {"train"},
    {"methods"},
    {"probes"},
    {"encoders"},
    {"views", "nn", "optim"},
    {"data"},
    {"disk", "machine"},
    {"config"},
    {"ops", "plugins"},
    {"errors", "version"},
]
NOT_METHODS = {"__init__", "base", "reads", "solved"}
FLOOR = {room: -number for number, floor in enumerate(FLOORS) for room in floor}
WITHOUT_TORCH = [
    "disk/atomic.py",
    "errors.py",
    "plugins.py",
    "config.py",
    "ops/duration.py",
    "runs/folder.py",
    "cli.py",
    "__init__.py",
    "runs/reasons.py",
]
WITHOUT_TORCH += [
    "images/config.py",
    "text/config.py",
    "modalities.py",
    "runs/settings.py",
    "methods/__init__.py",
    "methods/reads.py",
    "probes/__init__.py",
    "probes/results.py",
    *(f"report/{name}.py" for name in ("comparison", "figures", "page", "record")),
]


def _imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the dotted names of everything that a file imports."""
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


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def _ours(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("selfstudy.") and name.count(".") >= 1}


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_rooms_of_lower_floors_only(path):
    room = _room(path)
    rooms = {p.stem if p.suffix else p.name for p in SOURCE.iterdir()}
    imported = (_ours(_imports(path)) & rooms) - {room}
    assert imported <= {other for other in FLOOR if FLOOR[other] < FLOOR[room]}


def test_the_floors_hold_every_room_and_no_other():
    rooms = {_room(path) for path in _files()}
    assert rooms == set(FLOOR) and len(FLOOR) == sum(map(len, FLOORS))


def test_no_file_imports_itself_through_others():
    names = {_module(path): path for path in SOURCE.rglob("*.py")}
    # Importing a file also runs the __init__.py of its room and of the package. These imports do not count.
    targets = {name: _imports(path) & names.keys() for name, path in names.items()}
    arrows = {
        name: {one for one in found if not any(other.startswith(f"{one}.") for other in found)} - {name}
        for name, found in targets.items()
    }
    while leaves := {name for name, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert not arrows


def test_few_files_lie_outside_the_rooms():
    assert len(list(SOURCE.glob("*.py"))) <= 10


def test_train_imports_no_concrete_method():
    for path in (SOURCE / "train").glob("*.py"):
        modules = {name.split(".")[2] for name in _imports(path) if name.startswith("selfstudy.methods.")}
        assert modules <= NOT_METHODS, path


def test_no_method_imports_another():
    for path in (SOURCE / "methods").glob("*.py"):
        if path.stem in NOT_METHODS:
            continue
        modules = {name.split(".")[2] for name in _imports(path) if name.startswith("selfstudy.methods.")}
        assert modules <= NOT_METHODS, path


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_these_files_do_not_import_torch_when_loaded(name):
    assert not any(n.split(".")[0] == "torch" for n in _imports(SOURCE / name, top_level_only=True))


def test_the_api_opens_no_room_of_one_modality_when_loaded():
    imported = _ours(_imports(SOURCE / "api.py", top_level_only=True))
    assert not imported & {"images", "text"}


IGNORED = re.compile(r"# type: ignore\[[a-z-]+\]  # \w.*$")
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


def _ignored_without_a_reason(text: str) -> list[str]:
    """The lines that make a type checker ignore an error without a second comment that gives the reason."""
    return [line for line in text.splitlines() if "# type: ignore" in line and not IGNORED.search(line)]


def test_every_ignored_type_error_has_its_kind_and_a_reason():
    found = {path.name: lines for path in _files() if (lines := _ignored_without_a_reason(path.read_text("utf-8")))}
    assert not found


@pytest.mark.parametrize("comment", ["", "[operator]", "  # a Sequential", "[operator] # one space", "[operator]  #"])
def test_an_ignored_type_error_without_kind_or_reason_is_found(comment):
    line = f"x = 1  # type: ignore{comment}"
    assert _ignored_without_a_reason(f"{line}\ny = 2\nz = 3  # type: ignore[operator]  # a reason\n") == [line]


def _functions(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _length(function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_and_functions_keep_to_the_house_sizes():
    lengths = []
    for path in _files():
        text = path.read_text(encoding="utf-8")
        limit = 150 if _room(path) == "methods" and path.stem not in NOT_METHODS else 400
        assert text.count("\n") <= limit, path
        for function in _functions(ast.parse(text)):
            lengths.append(_length(function))
            assert lengths[-1] <= 60, f"{path}: {function.name} has {lengths[-1]} lines"
    assert sorted(lengths)[len(lengths) // 2] <= 10


# Functions with more than 6 parameters, and why.
MANY_PARAMETERS = {
    "api.pretrain": "public: options of a run, each with its default, and its settings",
    "api.evaluate": "public: options of an evaluation, each with its default",
    "cli.evaluate": "public: options of an evaluation, each with its default",
    "cli.pretrain": "one parameter for each option of the command",
    "cli.complete": "one parameter for each option of the command",
    "methods.base.Recipe.of": "public: the settings of an optimizer, each with its default",
    "ops.masked_tokens.noised": "public: the tensors and numbers of one formula",
    "encoders.text.build_text_encoder": "public: the settings of an encoder, each with its default",
    # Internal, and called with keywords: a class around the parameters would only give their list another name.
    "images.batches.TrainingData.__init__": "the parts of a loader",
    "images.members.EncodedImages.__init__": "the facts about a list of images; some are left out by most callers",
    "runs.pretraining.pretrain": "the options of api.pretrain",
    "text.batches.TokenRows.__init__": "the parts of a loader",
    "text.token_build.build_store": "a corpus, a tokenizer, a folder, and the settings of the split",
    "train.loop.Trainer.__init__": "the parts of a training loop",
}


def _parameters(function) -> int:
    """The number of parameters, without ``self`` and ``cls``."""
    given = function.args
    named = [one for one in [*given.posonlyargs, *given.args, *given.kwonlyargs] if one.arg not in ("self", "cls")]
    return len(named) + sum(one is not None for one in (given.vararg, given.kwarg))


def _qualified(tree: ast.AST, module: str):
    """Every function of a module with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        name = f"{module}.{node.name}" if isinstance(node, ast.ClassDef | ast.FunctionDef) else module
        if isinstance(node, ast.FunctionDef):
            yield name, node
        yield from _qualified(node, name)


def test_functions_have_at_most_six_parameters_or_a_reason():
    functions = [
        pair
        for path in _files()
        for pair in _qualified(ast.parse(path.read_text("utf-8")), _module(path).removeprefix("selfstudy."))
    ]
    many = {name for name, function in functions if _parameters(function) > 6}
    assert many == set(MANY_PARAMETERS), many ^ set(MANY_PARAMETERS)


# Files without a test file of their own, and why. Every other one has it: src/selfstudy/a/b.py in tests/a/test_b.py.
WITHOUT_A_MIRRORED_TEST = {
    "runs/modality.py": "protocols: nothing in it runs",
    "version.py": "one constant",
    # The work of another file, whose test goes through it.
    "errors.py": "tests/test_cli.py",
    "methods/base.py": "tests/methods/test_contract.py",
    "optim/settings.py": "tests/optim/test_pace.py",
    "text/work.py": "tests/test_text.py",
    "images/modality.py": "tests/test_modalities.py",
    "runs/resolved.py": "tests/images/test_resolve.py",
    "text/modality.py": "tests/test_modalities.py",
    "train/compiling.py": "tests/test_compile.py",
}


def _mirrored_test(path: Path) -> Path:
    relative = path.relative_to(SOURCE)
    return Path(__file__).parent / relative.parent / f"test_{relative.name}"


def test_every_file_has_a_test_file_of_its_own_or_a_reason():
    files = {path.relative_to(SOURCE).as_posix(): path for path in _files() if path.name != "__init__.py"}
    missing = {name for name, path in files.items() if not _mirrored_test(path).is_file()}
    assert missing == set(WITHOUT_A_MIRRORED_TEST), missing ^ set(WITHOUT_A_MIRRORED_TEST)


@pytest.mark.parametrize("named", sorted({reason for reason in WITHOUT_A_MIRRORED_TEST.values() if "/" in reason}))
def test_the_tests_that_stand_in_exist(named):
    assert all((Path(__file__).parents[1] / name).is_file() for name in named.split(", "))
