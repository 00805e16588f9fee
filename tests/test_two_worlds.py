"""Images and text stand behind one protocol: no file but modalities.py asks which of them a run is of."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "selfstudy"
NAMES = {"text", "image", "images"}
CLASS = re.compile(r"(Text|Images)|(Text|Images?)(Embedder|\w*Config|Work|Modality|Run|Method)|Embedder")
FLAG = re.compile(r"(is|has|reads|uses)_(text|texts|image|images)")
SUBJECT = re.compile(r"modality|kind|world", re.IGNORECASE)
ONLY_TEXT_HAS = {"data.documents"}  # settings by which a run's modality could be told


def questions(tree):
    """Every place of a syntax tree that asks for a modality, as (line, code); a name in a message asks nothing."""
    said = {id(part) for text in ast.walk(tree) if isinstance(text, ast.JoinedStr) for part in ast.walk(text)}
    asking = [node for node in ast.walk(tree) if id(node) not in said and _is_question(node)]
    return sorted({(node.lineno, ast.unparse(node).split("\n")[0]) for node in asking})


def _is_question(node):
    """True if a node compares, tests, looks up or flags a modality by its name or class."""
    match node:
        case ast.Attribute(attr="modality", ctx=ast.Load()):
            return True
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
            return FLAG.fullmatch(name) is not None
        case ast.keyword(arg=str(name)):
            return FLAG.fullmatch(name) is not None
        case ast.Compare():
            return _is_comparison([node.left, *node.comparators])
        case ast.Match():
            cases = [pattern for case in node.cases for pattern in ast.walk(case.pattern)]
            values = [pattern.value for pattern in cases if isinstance(pattern, ast.MatchValue)]
            classes = [pattern.cls for pattern in cases if isinstance(pattern, ast.MatchClass)]
            return _is_comparison([node.subject, *values]) or any(map(_is_class, classes))
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, classes]):
            return any(map(_is_class, ast.walk(classes)))
        case ast.Dict():
            keys = {_text(key) for key in node.keys}
            return len(keys & NAMES) > 1 or any(map(_is_class, node.keys))
        case ast.Subscript(slice=ast.Name(id="modality")):
            return True
    return False


def _is_comparison(sides):
    """True if one side is a modality's class, or one is its name and another a variable that holds it."""
    words = {_text(side) for side in sides} | {_text(item) for side in sides for item in getattr(side, "elts", [])}
    named = words & NAMES and any(SUBJECT.search(ast.unparse(side)) for side in sides)
    return bool(named or words & ONLY_TEXT_HAS or any(map(_is_class, sides)))


def _text(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_class(node):
    """True if a node names the class of one modality."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return CLASS.fullmatch(name) is not None


@pytest.mark.parametrize(
    "code",
    [
        'if method.modality == "text": pass',
        'if kind in ("image", "other"): pass',
        "use = TABLE[modality]",
        "use = TABLE[method.modality]",
        "isinstance(embedder, TextEmbedder)",
        "isinstance(config, (int, cfg.TextRunConfig))",
        "issubclass(cls, ImageWork)",
        "type(config) is TextRunConfig",
        'exports = {"image": 1, "text": 2}',
        "exports = {TextEmbedder: 1}",
        "text = is_text(folder)",
        'render(is_text="data.documents" in settings)',
        'found = "data.documents" in settings',
        "def is_text(folder): pass",
        'match modality:\n    case "text": pass',
        "match config:\n    case TextRunConfig(): pass",
    ],
)
def test_the_rule_notices_a_question(code):
    assert questions(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        'modality = "text"',
        "isinstance(image, Image.Image)",
        "isinstance(encoder, TextEncoder)",
        'row = {"text": line, "label": 3}',
        'if mode == "text": pass',
        "config = cast(TextRunConfig, config)",
        "work = ImageWork(data)",
        'raise UsageError(f"{method.__name__} reads {method.reads.modality}")',
    ],
)
def test_the_rule_leaves_the_worlds_themselves_in_peace(code):
    assert not questions(ast.parse(code))


def test_no_file_but_modalities_asks_which_modality_it_is():
    found = {
        str(path.relative_to(SOURCE)): asked
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name != "modalities.py" and (asked := questions(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert not found


def test_no_template_asks_which_modality_it_is():
    templates = {path.name: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.html")}
    assert templates and not [name for name, text in templates.items() if FLAG.search(text)]
