"""List phrases that are not plain modern English, with a plain one for each.

::

    python scripts/plain_english.py                           # all text of the repository
    python scripts/plain_english.py src/selfstudy/ops README.md

The program reads ``.py`` and ``.md`` files. It searches docstrings, comments, messages and names. It also finds two
faults of docstrings: a first word that asks a question ("Whether the file exists" instead of "Return True if the file
exists"), and an argument without a noun ("weight: of the second term" instead of "weight: the weight of the second
term"). It prints one line per finding and the number of findings per file. The exit code is 1 if there is a finding.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PLACES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "recipes", "src", "tests", "benchmarks", "scripts")
EXEMPT = ("scripts/plain_english.py", "tests/test_plain_english.py")  # they quote the phrases

# A pattern and the plain wording. A space matches any white space, so that a phrase may go on in the next line.
PHRASES = {
    r"foret(?:ell\w*|old)": "predict",
    r"beside": "next to, compared with, in addition to",
    r"alike": "the same, in the same way, equal",
    r"likewise": "repeat what is meant, or: also",
    r"anew": "again, new",
    r"afresh": "again, new",
    r"at hand": "available",
    r"nor": "or, and not",
    r"upon": "on",
    r"lest": "so that ... not",
    r"(?:where|there|here)(?:of|by|in|upon|to)": "name the noun",
    r"(?:whence|thence|hither|thither|hitherto|henceforth)": "name the place or time",
    r"mend(?:s|ed|ing)?": "fix, correct",
    r"but for": "except for",
    r"all but": "all except",
    r"but the (?:first|last)": "except the first, except the last",
    r"see there": "see, and the name of the place",
    r"as there": "as in, and the name of the place",
    r"so many": "the number, n",
    r"as (?:it|they) stands?": "unchanged",
    r"(?:that|which) there (?:is|are)(?: not)?": "existing, unknown, or: that ... exists",
    r"there (?:is|are) not": "there is no, or: ... does not exist",
    r"none where there (?:is|are) (?:none|no such)": "None if it is missing",
    r"where there (?:is|are) (?:none|no such)": "if it is missing",
    r"(?:is|are) said": "name who says it: the message names, the log shows",
    r"(?:is|are) to (?:be|have|hold|give|take)": "must be, must have, will be",
    r"(?:is|are) no (?:image|table|number|data|sentence|stack|such|folder|file|method|failure|multiple)": "is not a",
    r"(?:tell|speak|know|say)s? of": "describe, name, know",
    r"makes? of": "computes from, does with",
    r"go(?:es)? on with": "continue with",
    r"by turns": "in turns",
    r"of like": "of similar",
    r"whatever (?:the|its|their|it|this|share|device)": "for any, independent of",
    r"what an? \w+ is to its": "name the noun",
    r"many an?": "many",
    r"stands? (?:beside|with|in for)": "is next to, is given with, replaces",
    r"of one's own": "your own",
    r"(?:sooner|rather) or": "name the condition",
    r"in vain": "without effect",
    r"for want of": "because ... is missing",
}
_SEARCHED = re.compile("|".join(rf"(\b{p}\b)".replace(" ", r"[\s#]+") for p in PHRASES), re.IGNORECASE)
_ADVICE = tuple(PHRASES.values())

_QUESTION = re.compile(r"(?:What|Whether|How|Which|Where|Who|Of|That|As)\b")
_FRAGMENT = re.compile(
    r"^ +\*{0,2}[a-z]\w*: (?:of|for|in|to|at|by|as|from|with|on|that|which|what|when|where|whether|how|or|and)\b"
)
_HELP = re.compile(r"(?:description|help)=f?\"(?:of|that|which|what|whether|how|to|as)\b", re.IGNORECASE)


class Finding(NamedTuple):
    """A phrase in a file, and the plain wording for it."""

    line: int
    phrase: str
    advice: str


def findings(path: Path) -> list[Finding]:
    """Return the findings in a Python or Markdown file, sorted by line."""
    text = path.read_text(encoding="utf-8")
    found = list(_phrases(text))
    if path.suffix == ".py":
        found += _help_texts(text)
        found += _docstrings(text)
    return sorted(found)


def _phrases(text: str) -> Iterator[Finding]:
    readable = text.replace("_", " ")  # the names of tests are sentences
    for match in _SEARCHED.finditer(readable):
        if match[0].lower() == "nor" and "neither" in readable[max(0, match.start() - 100) : match.start()].lower():
            continue
        line = readable.count("\n", 0, match.start()) + 1
        yield Finding(line, " ".join(match[0].split()), _ADVICE[(match.lastindex or 1) - 1])


def _help_texts(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HELP.search(line):
            yield Finding(number, match[0], "begin with a noun or a verb")


def _docstrings(text: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (docstring := ast.get_docstring(node, clean=False)) is None:
            continue
        first = node.body[0].lineno
        if match := _QUESTION.match(docstring):
            yield Finding(first, match[0], "begin with what it is or returns: True if, The number of, Return")
        for number, line in enumerate(docstring.splitlines(), first):
            if match := _FRAGMENT.match(line):
                yield Finding(number, match[0].strip(), "begin with the noun")


def files(places: list[Path]) -> list[Path]:
    """Return the Python and Markdown files in files and folders, without the exempt ones."""
    inside = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    exempt = {ROOT / name for name in EXEMPT}
    return [file for file in inside if file.suffix in (".py", ".md") and file not in exempt]


def main(arguments: list[str]) -> int:
    """Print the findings and return the exit code."""
    places = [Path(name).resolve() for name in arguments] or [ROOT / name for name in PLACES]
    counts: Counter[str] = Counter()
    for file in files(places):
        name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
        for line, phrase, advice in findings(file):
            counts[name] += 1
            print(f"{name}:{line}: {phrase!r}; plain: {advice}")
    for name, count in counts.most_common():
        print(f"{count:>5} {name}")
    print(f"{counts.total():>5} in {len(counts)} files")
    return int(bool(counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
