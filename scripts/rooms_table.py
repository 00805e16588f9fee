"""Print the table of rooms in docs/design.md, made from the code: floors, what each room holds, what it imports.

::

    python scripts/rooms_table.py            # print it
    python scripts/rooms_table.py --write    # put it between the markers of docs/design.md

The floors come from tests/test_rooms.py, which holds the code to them; a room imports rooms of lower floors only.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "selfstudy"
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- rooms -->", "<!-- /rooms -->"


def floors() -> list[list[str]]:
    """The floors from the top down, as tests/test_rooms.py lists them."""
    tree = ast.parse((ROOT / "tests" / "test_rooms.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    return [sorted(floor) for floor in ast.literal_eval(value)]


def files(room: str) -> list[Path]:
    """The Python files of a room: a folder, or one file."""
    return sorted((SOURCE / room).rglob("*.py")) or [SOURCE / f"{room}.py"]


def about(room: str) -> str:
    """The first line of a room's docstring, without its full stop and without roles such as ``:mod:``."""
    first = SOURCE / room / "__init__.py"
    path = first if first.is_file() else SOURCE / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.sub(r":\w+:`", "`", docstring.split("\n")[0].removesuffix("."))


def imports(room: str, rooms: set[str]) -> set[str]:
    """The other rooms that a room's files import, at any place in them."""
    found: set[str] = set()
    for path in files(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("selfstudy.")} & rooms - {room}


def table() -> str:
    """The table in Markdown, one row a room, from the top floor down."""
    order = [room for floor in floors() for room in floor]
    lines = ["| floor | room | holds | imports |", "|---|---|---|---|"]
    for number, floor in zip(range(len(floors()), 0, -1), floors(), strict=True):
        for room in floor:
            names = sorted(imports(room, set(order)), key=order.index)
            lines.append(f"| {number} | `{room}` | {about(room)} | {', '.join(names) or 'none'} |")
    return "\n".join(lines) + "\n"


def section(page: str) -> str:
    """The text between the two markers of a page."""
    return page.partition(f"{BEGIN}\n")[2].partition(END)[0]


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write it into docs/design.md")
    if not parser.parse_args().write:
        sys.stdout.write(table())
        return
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(f"{BEGIN}\n{section(page)}{END}", f"{BEGIN}\n{table()}{END}"), encoding="utf-8")


if __name__ == "__main__":
    main()
