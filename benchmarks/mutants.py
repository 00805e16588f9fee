"""Would the tests notice? Change the source at random places and run each changed file's own tests.

::

    python benchmarks/mutants.py --out mutants.json             # a hundred mutants; stop and start again at any time
    python benchmarks/mutants.py --out mutants.json --only disk text/tokenizer.py --count 30

A mutant is one small change: a comparison swapped, a number or a boolean changed, a condition negated, a statement
deleted. It is caught if the file's mirrored test (``src/selfstudy/a/b.py`` is tested by ``tests/a/test_b.py``) fails or
runs out of time. It survives if the test passes or does not exist; survivors are printed with file, line and change. A
mutant that computes the same as the original cannot be caught: list it with the reason in
``benchmarks/mutants_equivalent.txt``, and it is left out of the count.

The seed ranks all possible mutants by a digest of what they change, so an edit in one file leaves the draw in all other
files as it was. Everything runs in a copy of the tree. A test process is forked from this one, which has imported torch
already; that saves seconds per mutant. Left out are annotations, decorators, f-strings, and keywords that only guard
against our own slips or set the console's style (``zip(strict=)``, ``print(highlight=)``).
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SKIPPED_ROOMS = ["methods", "nn", "ops", "views"]  # equations, held to slow loops and planted faults elsewhere
PRELOADED = ["numpy", "pyarrow.parquet", "pydantic", "pytest", "torch", "torchvision", "timm", "transformers", "typer"]
COPIED = {"src", "tests", "docs", "recipes", "scripts", "benchmarks", ".ci"}
IGNORED_KEYWORDS = {"strict", "highlight", "soft_wrap"}
SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Mutant(NamedTuple):
    """One change of one file.

    Attributes:
        file: path below ``src/PACKAGE``, with slashes.
        place: qualified name of the function or class around the change; empty on module level.
        line: first line of the change, from 1.
        span: (first, last + 1) byte of the text that is replaced.
        before: the text, its white space joined.
        after: the new text.
        number: counts equal changes in one place, from 1.
    """

    file: str
    place: str
    line: int
    span: tuple[int, int]
    before: str
    after: str
    number: int = 1

    @property
    def key(self) -> str:
        """A name that survives edits elsewhere in the file."""
        repeated = f" #{self.number}" if self.number > 1 else ""
        return f"{self.file}:{self.place}: {self.before} -> {self.after}{repeated}"


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a source file."""
    starts = [0, *accumulate(map(len, source.encode().splitlines(keepends=True)))]
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for node, place in _nodes(ast.parse(source), ""):
        for after in _changes(node):
            first = starts[node.lineno - 1] + node.col_offset
            last = starts[node.end_lineno - 1] + node.end_col_offset
            before = " ".join(source.encode()[first:last].decode().split())
            mutant = Mutant(file, place, node.lineno, (first, last), before, after)
            seen[mutant.key] += 1
            found.append(mutant._replace(number=seen[mutant.key]))
    return found


def _nodes(node: ast.AST, place: str) -> Iterator[tuple[ast.AST, str]]:
    """Every node that may be changed, with the qualified name of what holds it."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        place = f"{place}.{node.name}".removeprefix(".")
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_out(child):
                yield child, place
                yield from _nodes(child, place)


def _is_left_out(node: ast.AST) -> bool:
    """True for f-strings, ignored keywords, and code that runs for type checkers or as a program only."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).startswith(("TYPE_CHECKING", "__name__"))
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg in IGNORED_KEYWORDS)


def _changes(node: ast.AST) -> Iterator[str]:
    """The texts that may stand in a node's place."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                swapped = [*node.ops[:number], SWAPPED[type(operator)](), *node.ops[number + 1 :]]
                yield ast.unparse(ast.Compare(node.left, swapped, node.comparators))
        case ast.BoolOp():
            yield ast.unparse(ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values))
        case ast.UnaryOp(op=ast.Not()):
            yield ast.unparse(node.operand)
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int()):
            yield str(node.value + 1)
        case ast.Constant(value=float()):
            yield str(2 * node.value or 1.0)
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue():
            yield "pass"
        case ast.Return(value=None):
            yield "pass"
        case ast.Assign() if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            yield "pass"


def mutated(source: str, mutant: Mutant) -> str:
    """The source with a mutant's change made."""
    text, (first, last) = source.encode(), mutant.span
    after = mutant.after if mutant.after == "pass" else f"({mutant.after})"
    return (text[:first] + after.encode() + text[last:]).decode()


def draw(package: Path, *, count: int, seed: int, only: Iterable[str], skip: Iterable[str]) -> list[Mutant]:
    """``count`` mutants of a package, drawn by a seed, in the order of their files.

    Args:
        package: the folder ``src/PACKAGE``.
        count: number of mutants; fewer if there are fewer.
        seed: another seed draws others.
        only: files and folders below ``package`` to take; all if empty.
        skip: files and folders to leave out.
    """
    only, skip = tuple(only), tuple(skip)
    found = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        if path.name != "__init__.py" and (not only or _is_below(file, only)) and not _is_below(file, skip):
            found += mutants_of(file, path.read_text(encoding="utf-8"))
    found.sort(key=lambda mutant: hashlib.sha256(f"{seed} {mutant.key}".encode()).digest())
    return sorted(found[:count], key=lambda mutant: (mutant.file, mutant.span))


def _is_below(file: str, folders: Iterable[str]) -> bool:
    return any(file == folder or file.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def mirrored_test(file: str) -> str:
    """The path of a source file's own test, below the root: ``tests/disk/test_lock.py`` for ``disk/lock.py``."""
    path = Path(file)
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


def equivalents(file: Path) -> dict[str, str]:
    """The mutants listed as equivalent, by key, with their reasons: lines ``KEY  # REASON``."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    entries = [line.rpartition("  # ") for line in lines if line.strip() and not line.startswith("#")]
    wrong = [reason for key, _, reason in entries if not key or not reason.strip()]
    if wrong:
        raise SystemExit(f"{file}: {wrong[0]!r} has no reason\nwrite 'KEY  # REASON', with two spaces before the #")
    return {key: reason for key, _, reason in entries}


class Tests:
    """Runs test files in a copy of a tree, each in a process forked from this one.

    Args:
        tree: root of the copy.
        log: file that holds the output of the last run.
    """

    def __init__(self, tree: Path, log: Path) -> None:
        self._tree, self._log = tree, log
        self._limits: dict[str, float] = {}

    def limit(self, test: str) -> float:
        """Seconds that a mutant's run may take, from a run of the test on the unchanged source.

        Raises:
            SystemExit: the test fails without any mutant.
        """
        if test not in self._limits:
            began = time.monotonic()
            if self.run(test, limit=600) != "survived":
                raise SystemExit(f"{test} fails on the unchanged source:\n{self._log.read_text(errors='replace')}")
            self._limits[test] = 10 + 3 * (time.monotonic() - began)
        return self._limits[test]

    def run(self, test: str, *, limit: float) -> str:
        """``"survived"`` if the test passes, ``"caught"`` if it fails, ``"timeout"`` if it takes too long."""
        child = os.fork()
        if child == 0:
            self._child(test)
        ends = time.monotonic() + limit
        while time.monotonic() < ends:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return "survived" if os.waitstatus_to_exitcode(status) in (0, 5) else "caught"  # 5: no test collected
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "timeout"

    def _child(self, test: str) -> None:
        """Run pytest and leave; never returns."""
        code = 1
        try:
            os.setsid()  # so that a timeout ends what the test has started too
            output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(output, stream)
            os.chdir(self._tree)
            os.environ["PYTHONPATH"] = str(self._tree / "src")  # for the interpreters that tests start
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # two mutants of one second and size would share bytecode
            sys.path[:0] = [str(self._tree), str(self._tree / "src")]
            sys.dont_write_bytecode = True
            pytest = importlib.import_module("pytest")
            code = int(pytest.main(["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--assert=plain", test]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def judged(tests: Tests, tree: Path, package: str, mutant: Mutant) -> str:
    """The outcome of one mutant: ``"survived"``, ``"caught"``, ``"timeout"`` or ``"no test"``."""
    test, file = mirrored_test(mutant.file), tree / "src" / package / mutant.file
    if not (tree / test).is_file():
        return "no test"
    limit, source = tests.limit(test), file.read_text(encoding="utf-8")
    try:
        file.write_text(mutated(source, mutant), encoding="utf-8")
        return tests.run(test, limit=limit)
    finally:
        file.write_text(source, encoding="utf-8")


def copy(root: Path, tree: Path) -> None:
    """Copy the files and folders that tests need; runs, environments and histories stay where they are."""
    tree.mkdir()
    for path in root.iterdir():
        if path.name in COPIED:
            shutil.copytree(path, tree / path.name, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
        elif path.is_file():
            shutil.copy(path, tree)


def run(root: Path, drawn: list[Mutant], out: Path | None, *, package: str) -> dict[str, str]:
    """The outcome of every mutant by key; those that ``out`` holds for the same source and test are not run again."""
    known = json.loads(out.read_text(encoding="utf-8")) if out and out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy(root, tree)
        tests = Tests(tree, Path(folder) / "log")
        for number, mutant in enumerate(drawn, 1):
            texts = [root / "src" / package / mutant.file, root / mirrored_test(mutant.file)]
            digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in texts if path.is_file())).hexdigest()
            if known.get(mutant.key, {}).get("digest") != digest:
                outcome = judged(tests, tree, package, mutant)
                known[mutant.key] = {"outcome": outcome, "line": mutant.line, "digest": digest}
                print(f"{number:4}/{len(drawn)} {outcome:8} {mutant.file}:{mutant.line}", flush=True)
                if out:
                    out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return {mutant.key: known[mutant.key]["outcome"] for mutant in drawn}


def main(arguments: list[str] | None = None) -> None:
    """Draw, run and print; exit with 1 if fewer than ``--at-least`` of the mutants are caught."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="tree with src/ and tests/")
    parser.add_argument("--out", type=Path, help="JSON file of outcomes, read if it exists")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="files and folders below the package")
    parser.add_argument("--skip", nargs="*", default=SKIPPED_ROOMS, help="files and folders to leave out")
    parser.add_argument("--equivalent", type=Path, help="list of equivalent mutants, with reasons")
    parser.add_argument("--preload", nargs="*", default=PRELOADED, help="modules imported once for all tests")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="SHARE", help="share that must be caught")
    asked = parser.parse_args(arguments)
    (package,) = {path.parent for path in asked.root.glob("src/*/__init__.py")}
    listed = equivalents(asked.equivalent or asked.root / "benchmarks" / "mutants_equivalent.txt")
    drawn = draw(package, count=asked.count, seed=asked.seed, only=asked.only, skip=asked.skip)
    tried = [mutant for mutant in drawn if mutant.key not in listed]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in asked.preload:
        importlib.import_module(name)
    outcomes = run(asked.root, tried, asked.out, package=package.name)
    survivors = [mutant for mutant in tried if outcomes[mutant.key] in ("survived", "no test")]
    for mutant in survivors:
        print(f"{outcomes[mutant.key]:8} src/{package.name}/{mutant.file}:{mutant.line}  {mutant.key}")
    caught = 1 - len(survivors) / max(len(tried), 1)
    print(f"{caught:.0%} of {len(tried)} mutants caught; {len(drawn) - len(tried)} more are listed as equivalent")
    sys.exit(1 if caught < asked.at_least else 0)


if __name__ == "__main__":
    main()
