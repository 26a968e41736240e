"""Every block of README.md and docs/ that is not marked, run in its page."""

import pathlib
import shutil

import pytest
from testing import doc_blocks, doc_material
from testing.doc_shell import Shell

pytestmark = pytest.mark.long

ROOT = doc_blocks.ROOT
# What these make, the others begin with.
FIRST = [ROOT / "docs/tutorial.md", ROOT / "docs/how-to/onnx.md"]
OTHERS = [
    page
    for page in doc_blocks.pages()
    if page not in FIRST and any(b.is_run for b in doc_blocks.read(page))
]


def run(page: pathlib.Path, shell: Shell, names: dict) -> int:
    """Runs a page from its top; returns how many blocks ran."""
    blocks = [b for b in doc_blocks.read(page) if b.is_run]
    for block in blocks:
        shell.run(block, names)
    return len(blocks)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The tutorial's folder, and its server, which goes on answering."""
    shell = Shell(tmp_path_factory.mktemp("tutorial"))
    try:
        for page in FIRST:
            assert run(page, shell, {}) >= 3, page
        yield shell
    finally:
        shell.close()


@pytest.mark.parametrize(
    "page", OTHERS, ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_the_blocks_of_a_page_run(page, tutorial, tmp_path):
    # Each page begins where the tutorial ends, in a folder of its own.
    folder = tmp_path / "reader"
    shutil.copytree(tutorial.folder, folder)
    names = doc_material.write(folder)
    shell = tutorial.beside(folder)
    try:
        assert run(page, shell, names)
    finally:
        shell.close()
