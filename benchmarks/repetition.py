"""Measure the share of code lines that method files have in common.

A line counts if it is in a block of five or more lines that also occurs in another method file. Code lines are all
lines except docstrings, comments and blank lines. Two blocks are equal if they are equal in every letter::

    python benchmarks/repetition.py
"""

import ast
from pathlib import Path

RUN = 5
METHODS = Path(__file__).parent.parent / "src" / "selfstudy" / "methods"


def code_lines(file: Path) -> list[str]:
    """Return the lines of a file without docstrings, comments and blank lines."""
    text = file.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            left_out |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [line.strip() for number, line in enumerate(text.splitlines(), 1) if number not in left_out]
    return [line for line in lines if line and not line.startswith("#")]


def main() -> None:
    """Print the share of every file, and of all files together."""
    files = {
        file.stem: code_lines(file) for file in sorted(METHODS.glob("*.py")) if file.stem not in ("__init__", "base")
    }
    runs = {name: {tuple(code[i : i + RUN]) for i in range(len(code) - RUN + 1)} for name, code in files.items()}
    repeated = total = 0
    for name, code in files.items():
        elsewhere = set().union(*(runs[other] for other in files if other != name))
        starts = [i for i in range(len(code) - RUN + 1) if tuple(code[i : i + RUN]) in elsewhere]
        inside = {line for start in starts for line in range(start, start + RUN)}
        print(f"{name:<18} {len(inside):>4} of {len(code):>4} lines  {len(inside) / len(code):.1%}")
        repeated, total = repeated + len(inside), total + len(code)
    print(f"{'all':<18} {repeated:>4} of {total:>4} lines  {repeated / total:.1%}")


if __name__ == "__main__":
    main()
