"""What cases are written with: sides in turn, warm-up first, medians."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks import rows
from benchmarks.peers import Peers
from benchmarks.processes import SideError
from benchmarks.rows import Row
from benchmarks.turns import Side, Turns

if TYPE_CHECKING:
    from benchmarks.material import Material

__all__ = ["QUICK_REASON", "Bench", "Side"]

QUICK_REASON = "left out by QUICK=1"


class Bench:
    """A run of the suite.

    Args:
        quick: Whether it is to take under two minutes.
        work: A folder for what is made on the way.
        peers: Their environment.
        weights: Folder of the encoders' weights, or None.
        say: Takes a line of progress.

    Attributes:
        quick: The same.
        work: The same.
        weights: The same.
        say: The same.
        threads: Cores.
        material: What is measured on; set when it has been collected.
    """

    def __init__(
        self,
        *,
        quick: bool,
        work: pathlib.Path,
        peers: Peers,
        weights: pathlib.Path | None = None,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.quick = quick
        self.work = work
        self.weights = weights
        self.say = say
        self.threads = len(os.sched_getaffinity(0))
        self.material: Material | None = None
        self._turns = Turns(peers, quick=quick, work=work, weights=weights)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_):
        self._turns.close()

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        """Versions of the packages that were loaded, by environment."""
        return self._turns.versions

    def pair(
        self,
        name: str,
        unit: str,
        ours: Side,
        peer: Side | None = None,
        *,
        peer_name: str | None = None,
        goal: float | None = None,
        rounds: int | None = None,
        reason: str | None = None,
        detail: Mapping | None = None,
    ) -> Row:
        """Measures two sides in turn, A B A B, after a warm-up of each.

        Args:
            name: The row's name.
            unit: Its unit; see `rows.value` for what the figure is made of.
            ours: Our side.
            peer: The other one, or None.
            peer_name: Its name.
            goal: The least ratio wanted.
            rounds: Measured runs of each side; 5, or 3 in a quick run.
            reason: Why there is no peer.
            detail: Kept in the row, beside the sides' own details.

        Returns:
            The row. Where a side fails, its figure is None and the row's
            reason is the failure.
        """
        sides = {"ours": ours}
        if peer is not None:
            sides["peer"] = peer
        wanted = {
            "name": name,
            "ours": "ours",
            "peer": "peer" if peer is not None else None,
            "peer_name": peer_name,
            "goal": goal,
            "reason": reason,
            "detail": detail,
        }
        return self.table(unit, sides, [wanted], rounds)[0]

    def table(
        self,
        unit: str,
        sides: Mapping[str, Side],
        wanted: Sequence[Mapping],
        rounds: int | None = None,
    ) -> list[Row]:
        """Measures several sides in turn, A B C A B C; rows of some pairs.

        Args:
            unit: Of all rows.
            sides: By a name of yours.
            wanted: For each row `name`, `ours` and `peer` (names of sides,
                `peer` may be None), and what else `pair` takes: `peer_name`,
                `goal`, `reason`, `detail`.
            rounds: See `pair`.
        """
        found, failed = self.answers(list(sides.values()), rounds)
        answers = dict(zip(sides, found))
        reasons = dict(zip(sides, failed))
        made = []
        for row in wanted:
            names = [n for n in (row["ours"], row.get("peer")) if n]
            values = [
                [rows.value(unit, answer) for answer in answers[name]]
                for name in names
            ]
            why = [reasons[name] for name in names if reasons[name]]
            if len(names) < 2:
                why.append(row.get("reason") or "no peer")
                values.append([])
            made.append(
                rows.compared(
                    row["name"],
                    unit,
                    *values,
                    peer_name=row.get("peer_name"),
                    goal=row.get("goal"),
                    reason="; ".join(why) or None,
                    detail=_details(
                        [answers[name] for name in names], row.get("detail")
                    ),
                )
            )
        return made

    def answers(
        self,
        sides: Sequence[Side],
        rounds: int | None = None,
        warm_up: int = 1,
    ) -> tuple[list[list[dict]], list[str | None]]:
        """Runs sides in turn; see `Turns.answers`."""
        return self._turns.answers(
            sides, rounds or (3 if self.quick else 5), warm_up
        )

    def once(self, side: Side) -> dict:
        """Runs a side once, without a warm-up; returns the answer.

        Raises:
            SideError: It failed.
        """
        found, failed = self.answers([side], rounds=1, warm_up=0)
        if failed[0]:
            raise SideError(f"{side.module}: {failed[0]}")
        return found[0][0]

    def commands(
        self,
        sides: Sequence[tuple[str, Sequence[str]]],
        rounds: int | None = None,
        **words,
    ) -> tuple[list[list[dict]], list[str | None]]:
        """Runs whole commands in turn; see `Turns.commands`.

        Three rounds after one for the disk; in a quick run one round alone.
        """
        return self._turns.commands(
            sides,
            rounds or (1 if self.quick else 3),
            0 if self.quick or rounds else 1,
            **words,
        )

    def skipped(
        self,
        name: str,
        unit: str,
        reason: str = QUICK_REASON,
        *,
        peer_name: str | None = None,
        goal: float | None = None,
    ) -> Row:
        """Returns the row of what was not run."""
        return Row(name, unit, peer_name=peer_name, goal=goal, reason=reason)


def _details(answers, detail) -> dict:
    made = dict(detail or {})
    for name, side in zip(("ours", "peer"), answers):
        if not side:
            continue
        made |= {f"{name}_{k}": v for k, v in _of_last(side[-1]).items()}
    return made


def _of_last(answer: dict) -> dict:
    """The details of a side's last round, its CPU share and its memory."""
    cores = answer["cpu"] / max(answer["seconds"], 1e-9)
    return {
        "cores": round(cores, 2),
        "peak_mb": round(answer["peak_mb"]),
        **answer.get("detail", {}),
    }
