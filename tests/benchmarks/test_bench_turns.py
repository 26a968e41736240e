"""Two tiny sides in real worker processes."""

import pytest

from benchmarks import processes
from benchmarks.processes import SideError


def test_two_sides_run_in_turn_after_a_warm_up(bench, side):
    row = bench.pair(
        "x",
        "frames/s",
        side("A", units=30),
        side("B", seconds=2.0, venv="peers"),
        peer_name="b",
        goal=5.0,
        rounds=3,
    )
    assert side.log.read_text() == "ABABABAB"
    assert (row.ours, row.peer, row.ratio, row.met) == (30.0, 5.0, 6.0, True)
    assert row.spread["rounds"] == 3
    assert (row.detail["ours_mark"], row.detail["peer_mark"]) == ("A", "B")
    assert row.detail["ours_peak_mb"] > 1
    assert set(bench.versions) == {"ours", "peers"}
    assert "python" in bench.versions["ours"]


def test_several_sides_share_one_table(bench, side):
    first, second = bench.table(
        "s",
        {"a": side("A"), "b": side("B", seconds=3.0), "c": side("C")},
        [
            {"name": "x", "ours": "a", "peer": "b", "peer_name": "b"},
            {"name": "y", "ours": "c", "peer": None, "reason": "alone"},
        ],
        rounds=1,
    )
    assert side.log.read_text() == "ABCABC"
    assert first.ratio == pytest.approx(3.0)
    assert second.ratio is None
    assert second.reason == "alone"


@pytest.mark.parametrize(
    "broken, reason",
    [
        ("prepare", "ValueError: no such thing"),
        ("run", "RuntimeError: gave up"),
        ("die", "its process ended with 7; see "),
    ],
)
def test_a_side_that_fails_gives_a_row_with_the_reason(
    bench, side, broken, reason
):
    peer = side("B", venv="peers", broken=broken)
    row = bench.pair("x", "s", side("A"), peer, peer_name="b", rounds=2)
    assert row.ours == 0.1
    assert (row.peer, row.ratio) == (None, None)
    assert row.reason.startswith(reason)
    # The suite goes on with the same environments.
    row = bench.pair("y", "s", side("A"), side("B", venv="peers"), rounds=1)
    assert row.ratio == 1.0


def test_what_is_not_installed_gives_a_row_with_the_reason(bench, side):
    row = bench.pair("x", "s", side("A"), side("B", venv="torch"))
    assert (row.ours, row.ratio) == (0.1, None)
    assert row.reason == "torch is not there"


def test_a_command_is_measured_from_outside(tmp_path):
    log = tmp_path / "log.txt"
    env = processes.environment()
    words = ["/bin/sh", "-c", "echo said; exit 3"]
    with pytest.raises(SideError, match="sh ended with 3: said"):
        processes.command(words, env, log)
    found = processes.command(["/bin/sh", "-c", "true"], env, log)
    assert set(found) == {"seconds", "cpu", "peak_mb"}
    with pytest.raises(SideError, match="sh ended with -9"):
        processes.command(["/bin/sh", "-c", "sleep 9"], env, log, 0.05)


def test_a_side_that_hangs_is_ended(tmp_path):
    import sys

    log = tmp_path / "log.txt"
    with processes.Worker(
        sys.executable, processes.environment(), log
    ) as worker:
        with pytest.raises(SideError, match="took over 0.05 s"):
            worker.receive(0.05)
        assert not worker.alive
