"""The code blocks of README.md and docs/: which are run, and which not.

A block is run if its language is `bash` (commands), `console` (commands after
`$ `, and what they print) or `python`. Two notes change that:

  *Not run here: its reason.*            the paragraph before the block, so that
                                         a reader of the page sees it too
  <!-- run by tests/.../test_x.py -->    another test runs it
  <!-- other output: its reason -->      it is run; what is shown came from
                                         another run and is not compared

Of `console` blocks the output is compared, with any number for a number, any
spaces for spaces, and `...` for anything.
"""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = ("bash", "console", "python")
# Languages of blocks that are no commands.
SHOWN = ("text", "json", "yaml", "csv", "toml", "html")

_FENCE = re.compile(r"^( *)(`{3,})(.*)$")
_NOT_RUN = re.compile(r"^\*Not run here: (.+?)\.?\*$", re.DOTALL)
_RUN_BY = re.compile(r"<!-- run by (\S+) -->")
_OTHER = re.compile(r"<!-- other output: (.+?) -->", re.DOTALL)
# What a line of a command looks like, wherever it stands.
COMMAND = re.compile(
    r"^\s*(\$ |(emorec|make|pip|python|docker|kubectl|curl|grpcurl|mkdocs) )"
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file, from the repository's root.
        line: Of its first fence, from 1.
        language: The word after the fence; "" where there is none.
        text: What lies between the fences, without their indent.
        reason: Why it is not run, or None.
        run_by: The test file that runs it, or None.
        other: Why its output is not compared, or None.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None = None
    run_by: str | None = None
    other: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def head(self) -> str:
        """Its first line of words."""
        return next(line for line in self.text.splitlines() if line.strip())

    @property
    def is_run(self) -> bool:
        """Whether the commands of this page run it."""
        return self.language in RUN and not self.reason and not self.run_by


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a block.

    Attributes:
        line: In its page, from 1.
        command: As one would type it, on one line.
        output: The lines that are shown after it; None are not compared.
        code: The exit code that it is said to have.
    """

    line: int
    command: str
    output: tuple[str, ...] | None
    code: int = 0


def pages() -> list[pathlib.Path]:
    """README.md and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: pathlib.Path) -> list[Block]:
    """Returns the blocks of a page, in their order."""
    return parse(
        path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    )


def parse(text: str, page: str) -> list[Block]:
    """Returns the blocks of Markdown text.

    Raises:
        ValueError: A fence is not closed.
    """
    lines = text.splitlines()
    found, before, at = [], [], 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if not fence:
            before.append(lines[at].strip())
            at += 1
            continue
        indent, marks, info = fence.groups()
        end = at + 1
        while end < len(lines) and lines[end].strip() != marks:
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{at + 1}: the block has no end")
        body = [
            line[len(indent) :] if line.strip() else ""
            for line in lines[at + 1 : end]
        ]
        found.append(
            Block(
                page=page,
                line=at + 1,
                language=info.split()[0] if info.split() else "",
                text="\n".join(body),
                **_notes(before),
            )
        )
        before, at = [], end + 1
    return found


def _notes(before: list[str]) -> dict[str, str | None]:
    """What the paragraph and the comments before a block say of it."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(before).strip())
    comments = []
    while paragraphs and re.fullmatch(
        r"(<!--.*?-->\s*)+", paragraphs[-1], re.DOTALL
    ):
        comments.append(paragraphs.pop())
    last = paragraphs[-1] if paragraphs else ""
    notes = "\n".join([last, *comments])
    values = {
        "reason": _NOT_RUN.match(re.sub(r"<!--.*?-->", "", last).strip()),
        "run_by": _RUN_BY.search(notes),
        "other": _OTHER.search(notes),
    }
    return {k: " ".join(v[1].split()) if v else None for k, v in values.items()}


def steps(block: Block) -> list[Step]:
    """Returns the commands of a `bash` or `console` block.

    A comment `# exit code 1` after a command says what it ends with.
    """
    found, command, output, first = [], None, [], 0
    typed = block.language == "bash"

    def add():
        if command is not None:
            code = re.search(r"# exit code (\d+)\s*$", command)
            shown = None if typed or block.other else tuple(output)
            text = command[: code.start()] if code else command
            found.append(
                Step(first, text.strip(), shown, int(code[1]) if code else 0)
            )

    goes_on = False
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if goes_on:
            command += " " + line.strip()
        elif typed and (not line.strip() or line.startswith("#")):
            continue
        elif typed or line.startswith("$ "):
            add()
            command, output, first = line.removeprefix("$ "), [], number
        else:
            output.append(line)
            continue
        goes_on = command.endswith("\\")
        command = command.removesuffix("\\").rstrip()
    add()
    return found


def arguments(command: str) -> list[str] | None:
    """Returns the words of a plain command; None where it needs a shell."""
    if re.search(r"[|<>;&`]|\$\(|\$\?|^\w+=", command):
        return None
    return shlex.split(command)


def missing(shown: tuple[str, ...], printed: str) -> str | None:
    """Returns the first line that is shown and was not printed, in order.

    Blank lines are not looked at.
    """
    lines = [_plain(line) for line in printed.splitlines()]
    at = 0
    for line in shown:
        if not line.strip() or line.strip() == "...":
            continue
        pattern = ".*".join(map(re.escape, _plain(line).split("...")))
        while at < len(lines) and not re.fullmatch(pattern, lines[at]):
            at += 1
        if at == len(lines):
            return line
        at += 1
    return None


def _plain(line: str) -> str:
    """A line with `#` for each number and one space for spaces."""
    line = re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "#", line)
    return " ".join(line.split())
