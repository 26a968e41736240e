"""Imports go one way, and `--help` needs none of the heavy ones."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

from emorec.cli import main as command
from emorec.cli import pipeline

ROOT = pathlib.Path(__file__).resolve().parents[2]

# design.md's rule: a part may import itself, its own row's neighbours and
# what lies in the rows before it.
ROWS = (
    (
        "aligned",
        "labels",
        "config",
        "config_check",
        "config_values",
        "errors",
        "freed_memory",
        "signals",
    ),
    ("video", "models"),
    ("data", "features"),
    ("training", "evaluation", "export"),
    (
        "answers",
        "local_backend",
        "saved_model_backend",
        "frame_input",
        "load_backend",
        "onnx_backend",
        "onnx_folder",
        "predict",
        "predict_crops",
        "predict_cuts",
        "predict_sources",
        "predict_stages",
        "predict_workers",
        "preset_models",
        "recognizer",
        "results",
        "whole_video",
    ),
    ("ui",),
    ("cli", "__main__"),
)
RANK = {part: i for i, row in enumerate(ROWS) for part in row}
# What emorec may import inside functions of its command line alone.
FOREIGN = ("serving", "tfx_pipeline", "tfx", "apache_beam", "grpc")
HEAVY = (
    "tensorflow",
    "keras",
    "av",
    "cv2",
    "jinja2",
    "numpy",
    "grpc",
    "skimage",
    "mtcnn",
    "tqdm",
    "gradio",
    "matplotlib",
    "pandas",
)


def modules(folder="emorec"):
    return sorted((ROOT / folder).rglob("*.py"))


def part_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / "emorec").with_suffix("").parts[0]


def imports(tree: ast.AST, package: str, lazily: bool = True):
    """Yields (line, dotted name) of every import; lazy ones if asked for."""
    lazy = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lazy.update(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        if not lazily and id(node) in lazy:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: -node.level + 1 or None]
                base = ".".join([*parents, *filter(None, [base])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def imports_of(path: pathlib.Path, lazily: bool = True):
    package = ".".join(path.relative_to(ROOT).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return list(imports(tree, package, lazily))


def backward(part: str, found) -> list[str]:
    """Names the imports that go against the rule."""
    faults = []
    for line, name in found:
        names = name.split(".")
        if names[0] != "emorec" or len(names) < 2 or names[1] not in RANK:
            continue  # `from emorec import __version__` and the like.
        if RANK[names[1]] > RANK[part]:
            faults.append(f"line {line}: {name}")
    return faults


@pytest.mark.parametrize(
    "source, wrong",
    [
        ("from emorec.video import clip", True),
        ("import emorec.cli.main", True),
        ("def f():\n    from emorec import predict", True),
        ("from ..training import loop", True),
        ("from emorec.models import presets", True),
        ("from emorec.errors import LabelError", False),
        ("from emorec import __version__", False),
    ],
)
def test_the_checker_finds_what_it_looks_for(source, wrong):
    found = imports(ast.parse(source), "emorec.labels")
    assert bool(backward("labels", found)) is wrong


def test_every_part_has_its_place_in_the_rule():
    parts = {part_of(p) for p in modules()} - {"__init__"}
    assert parts == set(RANK)


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.stem)
def test_imports_go_one_way(path):
    part = part_of(path)
    if part == "__init__":
        found = imports_of(path, lazily=False)
        assert not found, "importing emorec must import nothing"
    else:
        assert not backward(part, imports_of(path))


def test_emorec_does_not_import_what_stands_on_it():
    for path in modules():
        cli = part_of(path) == "cli"
        found = {n for _, n in imports_of(path, lazily=not cli)}
        roots = {n.split(".")[0] for n in found}
        assert not roots & set(FOREIGN), path


def test_the_light_client_imports_no_tensorflow_and_no_serving_api():
    for path in [*modules("serving/client"), ROOT / "serving" / "tensors.py"]:
        roots = {n.split(".")[0] for _, n in imports_of(path)}
        assert not roots & {"tensorflow", "tensorflow_serving", "keras"}, path
        faults = [
            n
            for _, n in imports_of(path)
            if n.startswith("emorec.") and not n.startswith("emorec.errors")
        ]
        assert not faults, f"{path}: only emorec.errors is light: {faults}"


def test_models_run_on_every_keras_backend():
    paths = modules("emorec/models")
    assert len(paths) > 5
    for path in paths:
        found = {n for _, n in imports_of(path)}
        roots = {n.split(".")[0] for n in found} - sys.stdlib_module_names
        # Not even NumPy: what it makes would not be traced by JAX.
        assert roots <= {"keras", "emorec"}, path
        parts = {n.split(".")[1] for n in found if n.startswith("emorec.")}
        assert parts <= {"models", "config", "errors", "labels"}, path
        # What lies there is of one backend, or private.
        text = path.read_text(encoding="utf-8")
        for word in ("keras.src", "keras.backend.", "backend()"):
            assert word not in text, f"{path}: {word}"


def top_level_statements(path: pathlib.Path):
    """Yields what runs when a module is imported, function bodies aside."""
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("folder", ["emorec", "serving", "tfx_pipeline"])
def test_importing_sets_no_environment_and_configures_no_logger(folder):
    for path in modules(folder):
        for node in top_level_statements(path):
            if path.name == "__main__.py" and isinstance(node, ast.If):
                continue
            if isinstance(node, ast.Call | ast.Subscript):
                text = ast.unparse(node)
                for word in (
                    "os.environ",
                    "putenv",
                    "basicConfig",
                    "set_verbosity",
                    "setLevel",
                    "addHandler",
                    "simplefilter",
                    "filterwarnings",
                    "set_visible_devices",
                ):
                    assert word not in text, f"{path}:{node.lineno}: {text}"


def test_the_entry_of_the_command_is_light():
    for name in (
        "__init__",
        "__main__",
        "cli/__init__",
        "cli/main",
        "cli/app",
        "cli/pipeline",
    ):
        path = ROOT / "emorec" / f"{name}.py"
        for line, found in imports_of(path):
            assert found.split(".")[0] not in HEAVY, f"{path}:{line}: {found}"


HELP = """
import sys
from emorec.cli.main import main
code = main(sys.argv[1:])
heavy = sorted({m.split(".")[0] for m in sys.modules} & set(%r))
print("HEAVY", *heavy)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        [],
        *([c] for c in command.COMMANDS),
        *(["pipeline", c] for c in pipeline.COMMANDS),
    ],
    ids=lambda words: "-".join(words) or "emorec",
)
def test_help_exits_0_and_imports_nothing_heavy(words):
    done = subprocess.run(
        [sys.executable, "-c", HELP % (HEAVY,), *words, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *text, heavy = done.stdout.splitlines()
    assert heavy == "HEAVY"
    assert not done.stderr
    assert any(line.startswith("  ") for line in text)
    if words == ["pipeline"]:
        assert all(any(c in line for line in text) for c in pipeline.COMMANDS)
    elif words:
        name = " ".join(["emorec", *words])
        assert text[0].startswith(f"{name}: ")
        assert f"flags of {name}:" in text


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_is_described_in_one_line(name, capsys):
    assert command.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert f"  {name}" in shown
    assert command.COMMANDS[name] in shown
