"""README.md and docs/: every command block is run, or says why not."""

import ast
import pathlib

import pytest
from testing import doc_blocks
from testing.doc_blocks import Step

PAGES = doc_blocks.pages()
BLOCKS = [block for page in PAGES for block in doc_blocks.read(page)]


def shown(blocks):
    return [b.place for b in blocks]


TEXT = """\
Words.

*Not run here: there is no
cluster.*

```bash
emorec serve --port=1 \\
    --model_name=a  # a comment
```

<!-- run by tests/x/test_y.py -->
```python
x = 1
```

=== "A tab"

    ```console
    $ emorec models
    system  name

    $ emorec evaluate # exit code 1
    ```

Words.
<!-- other output: of another machine -->

```console
$ ls
```
"""


def test_notes_and_languages_are_read():
    first, second, third, fourth = doc_blocks.parse(TEXT, "p.md")
    assert (first.line, first.language) == (6, "bash")
    assert first.reason == "there is no cluster"
    assert not first.is_run
    assert (second.run_by, second.is_run) == ("tests/x/test_y.py", False)
    assert third.is_run and third.text.startswith("$ emorec models\n")
    assert fourth.other == "of another machine" and fourth.is_run
    with pytest.raises(ValueError, match="p.md:1: the block has no end"):
        doc_blocks.parse("```bash\nls", "p.md")


def test_commands_are_cut_out():
    first, _, third, fourth = doc_blocks.parse(TEXT, "p.md")
    (step,) = doc_blocks.steps(first)
    assert step == Step(
        7, "emorec serve --port=1 --model_name=a  # a comment", None
    )
    assert doc_blocks.steps(third) == [
        Step(19, "emorec models", ("system  name", "")),
        Step(22, "emorec evaluate", (), 1),
    ]
    assert doc_blocks.steps(fourth) == [Step(29, "ls", None)]
    assert doc_blocks.arguments("emorec a --b='c d'") == [
        "emorec",
        "a",
        "--b=c d",
    ]
    assert doc_blocks.arguments("emorec a | wc") is None


@pytest.mark.parametrize(
    "lines, printed, first",
    [
        (["took 3.5 s"], "took 41 s\n", None),
        (["a", "...", "c"], "a\nb\nc", None),
        (["a b"], "a     b", None),
        (["epoch 1  loss ...", "best"], "epoch 1  loss 0.2\nbest", None),
        (["b", "a"], "a\nb", "a"),
        (["took 3 s"], "took long", "took 3 s"),
    ],
)
def test_output_is_compared(lines, printed, first):
    assert doc_blocks.missing(tuple(lines), printed) == first


def test_every_block_has_a_language_that_is_known():
    known = (*doc_blocks.RUN, *doc_blocks.SHOWN)
    assert not shown(b for b in BLOCKS if b.language not in known)


def test_no_command_hides_in_a_block_that_is_not_run():
    assert not shown(
        b
        for b in BLOCKS
        if b.language in doc_blocks.SHOWN
        and any(map(doc_blocks.COMMAND.match, b.text.splitlines()))
    )


def test_a_console_block_begins_with_a_command():
    for block in BLOCKS:
        if block.language == "console":
            assert block.text.startswith("$ "), block.place


def test_python_blocks_are_python():
    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.text, block.place)


def test_a_block_that_another_test_runs_is_read_there():
    for block in BLOCKS:
        if block.run_by:
            text = (doc_blocks.ROOT / block.run_by).read_text("utf-8")
            assert pathlib.Path(block.page).name in text, block.place


def test_the_blocks_that_are_not_run():
    """A block comes on this list on purpose, or it has to run."""
    marked = [b for b in BLOCKS if b.reason]
    found = {}
    for block in marked:
        head = " ".join(block.head.removeprefix("$ ").split()[:3])
        found.setdefault(block.page, []).append(head)
    assert found == NOT_RUN
    # A note before what is never run would be a note of nothing.
    assert not shown(b for b in marked if b.language not in doc_blocks.RUN)
    assert not shown(b for b in marked if len(b.reason.split()) < 4)


# The first three words of each marked block, page by page.
NOT_RUN = {
    "README.md": [
        "make demo",
        "emorec prepare --manifest=labels.csv",
        "emorec experiment --data_dir=data",
        "emorec disagreement --ratings=tabulatedVotes.csv",
        "grpcurl -plaintext -protoset",
        "emorec pipeline run",
        "emorec pipeline status",
        "emorec pipeline run",
        "--runner=DataflowRunner --project=P --region=R",
    ],
    "docs/faq.md": ["mkdocs build --strict"],
    "docs/how-to/cheavd.md": ["emorec experiment --data_dir=cheavd_data"],
    "docs/how-to/gpu-serving.md": [
        "docker compose -f",
        "kubectl apply -f",
        "emorec tune_batching --model_base_path=serving/emotion",
    ],
    "docs/how-to/predict.md": [
        "emorec predict clips/videos/person10_happy_0.mp4",
        "emorec predict 0",
    ],
    "docs/how-to/tfx-cluster.md": [
        "emorec pipeline run",
        "emorec pipeline run",
        "docker build -f",
        "emorec pipeline run",
        "emorec pipeline run",
        "emorec pipeline run",
        "emorec pipeline compile",
        'export TF_CONFIG=\'{"cluster": {"worker":',
    ],
    "docs/tutorial.md": ["make setup"],
}
