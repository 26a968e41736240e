"""`emorec.cli.options`: whether a model folder answers in bfloat16."""

import pytest
from absl import flags

from emorec.cli import options
from emorec.features import frozen


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
        backend_of(f"--{where}=x", "--bfloat16")


def test_a_command_that_encodes_nothing_has_no_such_flag():
    values = flags.FlagValues()
    assert "bfloat16" not in options.define_backend(values)
    with pytest.raises(flags.UnrecognizedFlagError, match="bfloat16"):
        values(["emorec evaluate", "--bfloat16"])


@pytest.mark.parametrize(
    "words, is_on",
    [((), False), (("--bfloat16",), True), (("--nobfloat16",), False)],
)
def test_the_flag_overrides_the_models_config(model_dir, words, is_on):
    made = backend_of(f"--model_dir={model_dir}", *words)
    assert made.config.features.bfloat16 is is_on


def test_a_cpu_without_bfloat16_is_told_of(model_dir, monkeypatch, capsys):
    monkeypatch.setattr(frozen, "has_bfloat16", lambda: False)
    backend_of(f"--model_dir={model_dir}", "--bfloat16")
    assert capsys.readouterr().err == (
        "note: this CPU has no bfloat16 (avx512_bf16, amx_bf16): the encoders "
        "stay in float32\n"
    )
    backend_of(f"--model_dir={model_dir}")
    assert capsys.readouterr().err == ""
