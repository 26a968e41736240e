"""The hash of a component's code covers what the component runs.

TFX answers from its cache unless a parameter or an input is another. A module
that a component imports and whose change the hash does not see would leave
old results in place.
"""

import ast
import functools
import importlib
import pathlib

import pytest
from tfx.types import channel_utils, standard_artifacts

from tfx_pipeline import code_hash
from tfx_pipeline.components import clip_inferrer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ("emorec", "serving", "tfx_pipeline")
COMPONENTS = "tfx_pipeline.components"
# What decides no output of any component.
NO_OUTPUT = (
    # What is raised, and how processes are started and ended.
    "emorec/errors.py",
    "emorec/data/processes.py",
    # Where arrays lie in memory.
    "emorec/aligned.py",
    # What TensorFlow brings along as it is imported.
    "emorec/features/lean_tensorflow.py",
    # The hash itself.
    "tfx_pipeline/code_hash.py",
    # What a killed execution has left: it is looked at, then checked.
    "tfx_pipeline/executions.py",
)
# ClipExampleGen's hash covers it: with a change it makes new records, and
# these are an input of all the others.
BEFORE = ("emorec/video/",)
# Module with the tuple: (its name, what the executor is, what may be left
# out and why).
CASES = {
    f"{COMPONENTS}.clip_example_gen": (
        "CODE",
        [f"{COMPONENTS}.clip_example_gen_executor"],
        (),
    ),
    f"{COMPONENTS}.feature_extractor": (
        "_CODE",
        [f"{COMPONENTS}.feature_extractor_executor"],
        # The networks, that come after the features; of their package only
        # the names of their inputs are used.
        (
            *BEFORE,
            "emorec/models/attention.py",
            "emorec/models/baselines.py",
            "emorec/models/caca_rnn.py",
            "emorec/models/cnn_2d3d.py",
            "emorec/models/ensemble.py",
            "emorec/models/kernels.py",
            "emorec/models/parts.py",
            "emorec/models/untrained.py",
        ),
    ),
    f"{COMPONENTS}.example_validator": ("_CODE", [], ()),
    f"{COMPONENTS}.clip_evaluator": (
        "_CODE",
        [],
        # `emorec/video` imports the config.
        (
            *BEFORE,
            "emorec/config.py",
            "emorec/config_check.py",
            "emorec/config_values.py",
        ),
    ),
    f"{COMPONENTS}.servable_validator": ("_CODE", [], BEFORE),
    f"{COMPONENTS}.clip_inferrer": ("_CODE", [], ()),
    "tfx_pipeline.trainer": (
        "_CODE",
        ["tfx_pipeline.trainer", "tfx_pipeline.tuner"],
        # The Trainer takes no more of it than the name of a file.
        (*BEFORE, "tfx_pipeline/candidates.py"),
    ),
}
# Changed code is no reason to push the same model once more.
WITHOUT = {f"{COMPONENTS}.version_pusher"}


def path_of(module: str) -> pathlib.Path:
    """The file of a module; packages' own say nothing that is run."""
    return ROOT / f"{module.replace('.', '/')}.py"


@functools.cache
def imports(module: str) -> set[str]:
    """The modules of ours that one imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found.update(f"{node.module}.{a.name}" for a in node.names)
    return {
        m for m in found if m.split(".")[0] in PACKAGES and path_of(m).exists()
    }


def closure(*modules: str) -> set[str]:
    """The files of some modules and of all that they import."""
    todo, seen = set(modules), set()
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= imports(module) - seen
    return {path_of(m).relative_to(ROOT).as_posix() for m in seen}


def is_part(file: str, parts) -> bool:
    """Whether a file is one of some parts, or in one that is a package."""
    return any(file == p or file.startswith(f"{p.rstrip('/')}/") for p in parts)


@pytest.mark.parametrize("module", CASES)
def test_the_hash_covers_what_is_run(module):
    name, executors, left_out = CASES[module]
    listed = getattr(importlib.import_module(module), name)
    used = closure(*(executors or [module]))
    missing = {
        f for f in used if not is_part(f, (*listed, *left_out, *NO_OUTPUT))
    }
    assert not missing, f"{name} of {module} lacks {sorted(missing)}"
    # An exception that is none any more would hide the next one.
    idle = {p for p in left_out if not any(is_part(f, [p]) for f in used)}
    assert not idle, f"{module} does not use {sorted(idle)}"
    assert code_hash.code_hash(*listed)


def test_no_component_is_left_out():
    folder = ROOT / COMPONENTS.replace(".", "/")
    made = {
        f"{COMPONENTS}.{path.stem}"
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign)
        and any(
            isinstance(t, ast.Name) and t.id == "EXECUTOR_SPEC"
            for t in node.targets
        )
    }
    assert made == {m for m in CASES if m.startswith(COMPONENTS)} | WITHOUT


def test_the_inferrer_takes_the_hash_as_a_parameter():
    component = clip_inferrer.ClipInferrer(
        examples=channel_utils.as_channel([standard_artifacts.Examples()]),
        model=channel_utils.as_channel([standard_artifacts.Model()]),
    )
    assert component.exec_properties["code"] == code_hash.code_hash(
        *clip_inferrer._CODE
    )


def test_another_file_is_another_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(code_hash, "_ROOT", tmp_path)
    made = code_hash.code_hash.__wrapped__
    (tmp_path / "package" / "inner").mkdir(parents=True)
    file = tmp_path / "package" / "inner" / "a.py"
    file.write_text("1\n")
    first = made("package")
    assert made("package") == first
    file.write_text("2\n")
    second = made("package")
    file.rename(file.with_name("b.py"))
    assert len({first, second, made("package")}) == 3
    with pytest.raises(FileNotFoundError):
        made("nothing.py")
