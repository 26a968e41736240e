"""`emorec.cli.options`: what of a model folder is in bfloat16."""

import numpy as np
import pytest
from absl import flags

from emorec.cli import options
from emorec.features import sessions

needs_bfloat16 = pytest.mark.skipif(
    not sessions.has_bfloat16(), reason="this CPU multiplies no bfloat16"
)


def backend_of(*words):
    values = flags.FlagValues()
    holders = options.define_backend(values, bfloat16=True)
    values(["emorec predict", *words])
    return options.make_backend(holders)


@pytest.mark.parametrize("where", ["onnx", "saved_model", "server"])
def test_bfloat16_belongs_to_a_model_folder(where):
    with pytest.raises(
        flags.IllegalFlagValueError,
        match="--bfloat16 belongs to --model_dir; an exported model computes "
        "as it was exported",
    ):
        backend_of(f"--{where}=x", "--bfloat16=all")


def test_an_evaluation_has_no_such_flag_and_none_of_it(model_dir):
    values = flags.FlagValues()
    holders = options.define_backend(values)
    assert "bfloat16" not in holders
    with pytest.raises(flags.UnrecognizedFlagError, match="bfloat16"):
        values(["emorec evaluate", "--bfloat16=all"])
    values(["emorec evaluate", f"--model_dir={model_dir}"])
    made = options.make_backend(holders)
    assert made.config.features.bfloat16 == "none"


@pytest.mark.parametrize(
    "words, expected",
    [((), "context"), (("--bfloat16=all",), "all")],
)
def test_the_flag_overrides_the_models_config(model_dir, words, expected):
    made = backend_of(f"--model_dir={model_dir}", *words)
    assert made.config.features.bfloat16 == expected


def test_a_cpu_without_bfloat16_is_told_of(model_dir, monkeypatch, capsys):
    monkeypatch.setattr(sessions, "has_bfloat16", lambda: False)
    backend_of(f"--model_dir={model_dir}", "--bfloat16=context")
    assert capsys.readouterr().err == (
        "note: this CPU has no bfloat16 (avx512_bf16, amx_bf16): the encoders "
        "stay in float32\n"
    )
    backend_of(f"--model_dir={model_dir}")
    assert capsys.readouterr().err == ""


@needs_bfloat16
def test_the_context_alone_is_in_bfloat16_unless_asked(model_dir):
    # The same pictures as both streams.
    picture = np.random.default_rng(1).integers(
        0, 256, (4, 224, 224, 3), np.uint8
    )
    plain, context, both = (
        {
            stream: made._answers(stream, picture)
            for stream in ("face", "context")
        }
        for made in (
            backend_of(f"--model_dir={model_dir}", f"--bfloat16={choice}")
            for choice in ("none", "context", "all")
        )
    )
    assert not differs(plain["face"], context["face"])
    assert differs(plain["context"], context["context"])
    assert differs(plain["face"], both["face"])
    assert not differs(both["context"], context["context"])


def differs(a, b):
    return any((a[k] != b[k]).any() for k in a)
