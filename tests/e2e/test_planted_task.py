"""The planted task, end to end: every fused system finds what is planted."""

import json

import pytest
from testing import commands

from emorec.cli import planted as command


def test_an_unknown_system_is_one_line(tmp_path, capsys):
    done = commands.here(
        capsys, "planted", f"--output_dir={tmp_path / 'o'}", "--systems=caca"
    )
    assert done.code == 1
    assert "`systems` must be all or some of face_rnn" in done.fault()
    assert not (tmp_path / "o").exists()


def test_no_seeds_are_a_flag_error(tmp_path, capsys):
    done = commands.here(
        capsys, "planted", f"--output_dir={tmp_path / 'o'}", "--seeds=0"
    )
    assert done.code == 2
    assert "seeds" in done.fault()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The command's folder, all variants with five seeds."""
    folder = tmp_path_factory.mktemp("planted") / "planted"
    done = commands.apart(
        "planted", f"--output_dir={folder}", "--quiet", timeout=3600
    )
    assert done.code == 0, done.err
    print(done.out)
    return folder


@pytest.fixture(scope="module")
def figures(output):
    return json.loads((output / "planted.json").read_text())


@pytest.mark.long
def test_the_task_is_possible_and_pooling_does_not_solve_it(figures):
    assert figures["oracle_acc"] >= 0.99
    # Half of the labels is what the expression alone gives.
    assert figures["pooled_map"] <= 0.56


@pytest.mark.long
@pytest.mark.parametrize("system", command.FUSED)
def test_a_fused_system_is_15_points_above_the_better_stream(figures, system):
    assert len(figures["systems"][system]["by_seed"]) == 5
    assert figures["above_one_stream"][system] >= 0.15


@pytest.mark.long
def test_one_stream_stays_near_what_it_can_know(figures):
    # MAP is of precisions: a class that is seldom named may have a high one.
    systems, bounds = figures["systems"], figures["one_stream_bounds_acc"]
    assert systems["face_rnn"]["median"] <= bounds["face"] + 0.08
    assert systems["context_rnn"]["median"] <= bounds["context"] + 0.08


@pytest.mark.long
def test_the_gap_of_each_cut_is_that_of_its_seeds(figures):
    assert set(figures["cuts"]) == set(command.CUT)
    for name, gap in figures["cuts"].items():
        whole = figures["systems"]["caca_rnn_a"]["by_seed"]
        cut = figures["systems"][name]["by_seed"]
        differences = sorted(whole[s] - cut[s] for s in whole)
        assert gap["median"] == pytest.approx(differences[2])
        assert (gap["min"], gap["max"]) == pytest.approx(
            (differences[0], differences[-1])
        )


@pytest.mark.long
def test_run_again_it_repeats_nothing(output, figures):
    runs = list(output.glob("runs/*/seed*/run.json"))
    assert len(runs) == 45
    before = {p: p.stat().st_mtime_ns for p in runs}
    done = commands.apart("planted", f"--output_dir={output}", "--quiet")
    assert done.code == 0, done.err
    assert "caca_rnn_a.no_seeding" in done.out
    assert {p: p.stat().st_mtime_ns for p in runs} == before
    assert json.loads((output / "planted.json").read_text()) == figures
