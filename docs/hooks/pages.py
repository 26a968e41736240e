"""What `mkdocs build` does beside the pages: commands, config, links.

The tables of flags come from the commands themselves, and those of the config
from its dataclasses, so that no page can say something else than the code.
"""

import dataclasses
import html
import importlib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# absl's own, and what every command has.
_HIDDEN = {"flagfile", "undefok", "help", "helpfull", "helpshort", "helpxml"}
# A link to a file of the repository that is no page, such as
# [notes](../BUILD_NOTES.md).
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)(?:#[^)]*)?\)")


def on_config(config):
    """Leaves out pages that are made by another command and are not there."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # The code of this checkout.
    docs = pathlib.Path(config.docs_dir)
    config.nav = [
        entry
        for entry in config.nav
        if "scaling.md" not in entry.values() or (docs / "scaling.md").is_file()
    ]
    return config


def on_page_markdown(markdown, page, config, files):
    """Fills in the tables; turns links out of the site into names."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", _commands())
    if "<!-- config -->" in markdown:
        markdown = markdown.replace("<!-- config -->", _config())

    def named(found):
        place = pathlib.PurePosixPath("docs", page.file.src_uri).parent
        parts = []
        for part in (*place.parts, *found[2].split("/")):
            parts = parts[:-1] if part == ".." else [*parts, part]
        if parts[0] == "docs":
            return found[0]
        return f"{found[1]} (`{'/'.join(parts)}` in the repository)"

    return _OUTSIDE.sub(named, markdown)


def _commands() -> str:
    from emorec.cli import main, pipeline

    parts = []
    for name, what in main.COMMANDS.items():
        if name != "pipeline":
            parts.append(_command(f"emorec {name}", name))
            continue
        parts.append(f"## emorec {name}\n\n{what[0].upper()}{what[1:]}.\n")
        for step in pipeline.COMMANDS:
            title = f"emorec pipeline {step}"
            parts.append(_command(title, f"pipeline_{step}"))
    return "\n".join(parts)


def _command(title: str, module_name: str) -> str:
    module = importlib.import_module(f"emorec.cli.{module_name}")
    level = "###" if module_name.startswith("pipeline_") else "##"
    lines = [f"{level} {title}", "", "```text", module.__doc__.strip(), "```"]
    lines += ["", "| flag | |", "|---|---|"]
    flags = module.FLAGS
    for name in sorted(flags):
        if name not in _HIDDEN and len(name) > 1:
            lines.append(f"| `--{name}` | {_flag(flags[name])} |")
    return "\n".join([*lines, ""])


def _flag(flag) -> str:
    text = html.escape(" ".join(flag.help.split()), quote=False)
    text = text.replace("|", "\\|").split("; repeat this option")[0]
    values = getattr(flag.parser, "enum_values", None)
    if values and not text.startswith("&lt;"):
        text = f"{' or '.join(f'`{v}`' for v in values)}. {text}"
    if flag.default not in (None, "", [], False):
        text += f" Default: `{flag.default_as_str.strip(chr(39))}`."
    return text


def _config() -> str:
    from emorec.config import Config

    parts = []
    for section in dataclasses.fields(Config):
        value = section.default
        summary, fields = _attributes(type(value).__doc__)
        parts += [f"## {section.name}", "", summary, ""]
        parts += ["| field | default | |", "|---|---|---|"]
        for field in dataclasses.fields(value):
            shown = getattr(value, field.name)
            shown = "empty" if shown == "" else f"`{shown}`"
            parts.append(
                f"| `{section.name}.{field.name}` | {shown} "
                f"| {fields.get(field.name, '')} |"
            )
        parts.append("")
    return "\n".join(parts)


def _attributes(doc: str) -> tuple[str, dict[str, str]]:
    """Returns the first line and what `Attributes:` says of each field."""
    head, _, rest = doc.partition("Attributes:")
    fields = {}
    for found in re.finditer(
        r"^ {8}(\w+): (.*(?:\n {12}.*)*)", rest, re.MULTILINE
    ):
        text = " ".join(found[2].split()).replace("|", "\\|")
        fields[found[1]] = html.escape(text, quote=False)
    return " ".join(head.split()), fields
