"""What the repository may hold, and what it may not."""

import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = {
    # Fixed by the project's owner.
    "setup.py",
    "emorec",
    "serving",
    "tfx_pipeline",
    "tests",
    "BUILD_NOTES.md",
    # What comes beside them.
    "README.md",
    "LICENSE",
    "pyproject.toml",
    "requirements.lock",
    "Makefile",
    ".ci",
    ".gitignore",
    # Neither is part of the package.
    "benchmarks",
    "docs",
    "mkdocs.yml",
    "examples",
}
# About 300 lines is the rule; beyond this a file wants to be two. A test's
# tables of cases may be longer.
MAX_LINES = {"tests": 500, "": 400}
# Longer, of one matter: every fault that a manifest may have.
LONG_FILES = {"tests/data/test_manifest.py"}
MAX_BYTES = 512 << 10
TEXT = {".py", ".md", ".toml", ".lock", ".html", ".cfg", ".txt", ".yml", ""}
TEXT |= {".json"}
# Videos and weights never belong in the repository.
DATA = {
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".h5",
    ".hdf5",
    ".npz",
    ".keras",
    ".tfrecord",
    ".pb",
    ".onnx",
    ".jpg",
    ".whl",
}


def listed() -> list[pathlib.Path]:
    """The files that git has, and new ones that it does not ignore."""
    try:
        done = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout: an archive has no list of its files")
    paths = [ROOT / line for line in done.stdout.splitlines()]
    return [p for p in paths if p.is_file()]


@pytest.fixture(scope="module")
def files() -> list[pathlib.Path]:
    return listed()


def test_the_top_level_is_as_fixed(files):
    found = {p.relative_to(ROOT).parts[0] for p in files}
    assert not found - TOP, "the top level of the repository is fixed"
    assert found >= {"setup.py", "emorec", "serving", "tfx_pipeline", "tests"}


def test_files_stay_short(files):
    long = {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and name not in LONG_FILES:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            top = name.partition("/")[0]
            if lines > MAX_LINES.get(top, MAX_LINES[""]):
                long[name] = lines
    assert not long


def test_no_path_of_one_machine(files):
    # Put together here, so that this file does not hold them.
    words = [
        "/" + w for w in ("home/", "Users/", "root/", "work/", "tmp/bash_jobs")
    ]
    pattern = re.compile(
        "|".join(f"(?<![\\w.}}]){re.escape(w)}" for w in words)
    )
    assert pattern.search(f"open('{words[0]}me/x')")
    assert not pattern.search("../home/x and {root}/work/x")
    found = [
        f"{p.relative_to(ROOT)}:{i}: {line.strip()[:80]}"
        for p in files
        if p.suffix in TEXT
        for i, line in enumerate(
            p.read_text(encoding="utf-8").splitlines(), start=1
        )
        if pattern.search(line)
    ]
    assert not found


def test_no_data_and_nothing_large(files):
    for path in files:
        assert path.suffix not in DATA, f"{path}: data is not ours to ship"
        assert path.stat().st_size <= MAX_BYTES, path


def test_names_of_tests_are_unique(files):
    # pytest imports test files by their base name where there is no package.
    names = [p.name for p in files if p.match("tests/**/test_*.py")]
    assert len(names) == len(set(names)), sorted(
        n for n in names if names.count(n) > 1
    )


def test_the_lock_pins_everything():
    names = []
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        found = re.fullmatch(
            r"([A-Za-z0-9._-]+)(\[[\w,-]+\])?==([\w.+!-]+)(\s*;.*)?", line
        )
        assert found, f"requirements.lock: not an exact pin: {line!r}"
        names.append(re.sub(r"[-_.]+", "-", found[1]).lower())
    assert len(names) == len(set(names)), "a package is pinned twice"
    # What setup.py cannot name for pip has to be here.
    assert {"tensorflow", "keras", "tfx", "fer", "mtcnn", "grpcio"} <= {*names}


def test_the_lock_fits_setup_py():
    from packaging.requirements import Requirement

    text = (ROOT / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))
    pins = {re.sub(r"[-_.]+", "-", k).lower(): v for k, v in pins.items()}
    quoted = re.findall(
        r'^\s+"([a-z0-9][\w.-]*(?:[<>=!]=?[\w.,<>=!]+))",$',
        (ROOT / "setup.py").read_text(),
        re.MULTILINE,
    )
    assert len(quoted) >= 12, "setup.py's ranges were not found"
    for wanted in map(Requirement, quoted):
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert name in pins, f"requirements.lock has no {name}"
        assert pins[name] in wanted.specifier, f"{wanted}: {pins[name]}"
