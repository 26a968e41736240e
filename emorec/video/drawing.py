"""Draws persons on a frame: box, number, label, small bars of probability.

OpenCV's letters are ASCII: other letters lose their accents, and a label that
cannot be written so is drawn as its number ("label 3").
"""

import dataclasses
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from emorec.labels import LabelSet
from emorec.video.curves import Span

BARS = 3
# Of more persons in a frame only a line is written.
CROWD = 6
SIDES = ("below", "right", "left", "above")
_TAGS = ("above", "below", "above left", "below left", "right", "left")
# Shares of the free width and height left and above.
CORNERS = ((0, 1), (1, 1), (1, 0), (0, 0))
# Of Okabe and Ito, as RGB, without black and those too dark for a frame.
COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (235, 120, 40),
    (225, 140, 190),
)
_WHITE = (255, 255, 255)
_PANEL = (18, 22, 28)
_TRACK = (74, 82, 94)
_FONT = cv2.FONT_HERSHEY_DUPLEX
# Letters of a label that are drawn.
_LONGEST = 14
# Drawn sizes are for frames whose shorter side is this, in pixels.
_SHORT_SIDE = 480
# Of smaller letters nothing is read.
_LEAST_UNIT = 0.6
# Pixels of a line such as "12: surprise 34%" of drawn size.
_LINE_WIDTH = 150


@dataclasses.dataclass(frozen=True)
class Seen:
    """A person in one frame.

    Attributes:
        track: The person's number.
        box: float [4], x0, y0, x1, y1 in pixels of the frame.
        span: The answer that holds, or None.
        labels: The label set.
    """

    track: int
    box: np.ndarray
    span: Span | None
    labels: LabelSet


def plain(text: str, otherwise: str) -> str:
    """Returns text as ASCII without accents; `otherwise` where it cannot."""
    folded = unicodedata.normalize("NFKD", text)
    folded = "".join(c for c in folded if not unicodedata.combining(c))
    if folded.isascii() and folded.isprintable():
        return folded
    return otherwise


class Artist:
    """Draws on the frames of one video, all of one size.

    A panel stays where it was as long as there is room: it would flicker.

    Args:
        width: Pixels.
        height: Pixels.
    """

    def __init__(self, width: int, height: int):
        self._size = (width, height)
        self._full = max(min(width, height) / _SHORT_SIDE, _LEAST_UNIT)
        self._unit = self._full
        self._places: dict[tuple[int, str], int] = {}

    def draw(self, image: np.ndarray, people: Sequence[Seen]) -> None:
        """Draws persons on a frame, in place.

        Args:
            image: uint8 [H, W, 3] RGB.
            people: Who is in it; the last are drawn last.
        """
        for seen in people:
            self._box(image, seen)
        taken = [_corners(seen.box) for seen in people]
        is_crowded = len(people) > CROWD
        self._unit = self._crowd_unit(people) if is_crowded else self._full
        for seen in people:
            place, rows = self._tagged(seen, is_crowded, taken)
            taken.append(place)
            self._panel(image, place, rows, COLOURS[seen.track % len(COLOURS)])
        for seen in people:
            if seen.span is None or is_crowded:
                continue
            rows = self._bars(seen)
            extent = self._extent(rows, bars=True)
            # A corner of the frame says whose they are of one person alone.
            sides = SIDES + (CORNERS if len(people) == 1 else ())
            place = self._place(seen, "bars", extent, sides, taken)
            if place is None and len(people) == 1:
                place = self._inside(seen.box, extent, low=True)
            if place is not None:
                taken.append(place)
                self._panel(image, place, rows, None)

    def _crowd_unit(self, people) -> float:
        """Letters by which a line of a crowd's is about as wide as a face."""
        width = np.median([seen.box[2] - seen.box[0] for seen in people])
        least = max(_LEAST_UNIT, self._full / 2)
        return float(np.clip(width / _LINE_WIDTH, least, self._full))

    def _tagged(self, seen, is_crowded: bool, taken) -> tuple:
        """Returns where a person's tag goes, and its rows.

        All of it beside the box, else in one line there, else on the face:
        a person's number is always told.
        """
        for short in (True,) if is_crowded else (False, True):
            rows = self._tag(seen, short)
            place = self._place(seen, "tag", self._extent(rows), _TAGS, taken)
            if place is not None:
                return place, rows
        if self._extent(rows)[0] > seen.box[2] - seen.box[0]:
            rows = [(f"{seen.track}", None, False)]
        return self._inside(seen.box, self._extent(rows)), rows

    def note(self, image: np.ndarray, text: str) -> None:
        """Writes a line into the frame's corner, in place."""
        rows = [(text, None, False)]
        pad = self._px(10)
        place = (pad, pad, *(np.add(self._extent(rows), pad)))
        self._panel(image, tuple(map(int, place)), rows, None)

    def _px(self, value: float) -> int:
        return max(1, round(value * self._unit))

    def _box(self, image, seen):
        x0, y0, x1, y1 = _corners(seen.box)
        thick = self._px(2)
        own = COLOURS[seen.track % len(COLOURS)]
        # On a dark edge, for bright frames.
        for colour, width in ((_PANEL, thick + self._px(2)), (own, thick)):
            cv2.rectangle(image, (x0, y0), (x1, y1), colour, width, cv2.LINE_AA)

    def _tag(self, seen, short: bool) -> list[tuple]:
        """Rows of text: (text, share of a bar or None, is strong).

        Args:
            seen: The person.
            short: Whether it is to be one line of small letters.
        """
        number = f"{seen.track}" if short else f"person {seen.track}"
        if seen.span is None:
            return [(number, None, False)]
        span = seen.span
        name = self._name(seen.labels, seen.labels.names.index(span.label))
        sure = f"{name} {100 * span.confidence:.0f}%"
        if short:
            return [(f"{number}: {sure}", None, False)]
        rows = [(sure, None, True)]
        if span.uncertain:
            number += ", uncertain"
        return [*rows, (number, None, False)]

    def _bars(self, seen) -> list[tuple]:
        probabilities = seen.span.probabilities
        order = np.argsort(-probabilities, kind="stable")[:BARS]
        return [
            (self._name(seen.labels, i), float(probabilities[i]), False)
            for i in order
        ]

    def _name(self, labels: LabelSet, index: int) -> str:
        name = plain(labels.names[index], f"label {index}")
        if len(name) > _LONGEST:
            name = f"{name[: _LONGEST - 2]}.."
        return name

    def _text(self, strong: bool) -> float:
        return (0.62 if strong else 0.46) * self._unit

    def _row(self, strong: bool) -> int:
        return self._px(24 if strong else 18)

    def _extent(self, rows, bars: bool = False) -> tuple[int, int]:
        """Width and height of a panel of these rows."""
        widths = [
            cv2.getTextSize(text, _FONT, self._text(strong), self._px(0.9))[0][
                0
            ]
            for text, _, strong in rows
        ]
        width = max(widths) + self._px(14) + (self._px(72) if bars else 0)
        height = sum(self._row(strong) for _, _, strong in rows)
        return width, height + self._px(8)

    def _place(self, seen, what, extent, sides, taken):
        """Returns the first free place about a box, or None."""
        key = (seen.track, what)
        places = [self._beside(seen.box, extent, side) for side in sides]
        order = list(range(len(sides)))
        if key in self._places:
            order.sort(key=lambda i: i != self._places[key])
        own = _corners(seen.box)
        for i in order:
            if places[i] is None:
                continue
            # Only a panel at a corner can lie on its own box.
            others = [t for t in taken if t != own or sides[i] in CORNERS]
            if not any(_meet(places[i], other) for other in others):
                self._places[key] = i
                return places[i]
        return None

    def _beside(self, box, extent, side):
        """Returns a panel's corners on one side; None where it has no room."""
        x0, y0, x1, y1 = _corners(box)
        width, height = extent
        gap = self._px(5)
        if side in CORNERS:
            left = gap + side[0] * (self._size[0] - width - 2 * gap)
            top = gap + side[1] * (self._size[1] - height - 2 * gap)
        elif side.startswith(("above", "below")):
            up = side.startswith("above")
            top = y0 - gap - height if up else y1 + gap
            left = x1 - width if side.endswith("left") else x0
            left = min(max(left, 0), self._size[0] - width)
        else:
            left = x1 + gap if side == "right" else x0 - gap - width
            top = min(max(y0, 0), self._size[1] - height)
        place = (left, top, left + width, top + height)
        inside = left >= 0 and top >= 0
        inside = inside and place[2] <= self._size[0]
        return place if inside and place[3] <= self._size[1] else None

    def _inside(self, box, extent, low: bool = False):
        """Returns corners at a box's upper or lower edge, in the frame."""
        x0, y0, _, y1 = _corners(box)
        width, height = extent
        left = max(0, min(x0, self._size[0] - width))
        top = y1 - height if low else y0
        top = max(0, min(top, self._size[1] - height))
        return left, top, left + width, top + height

    def _panel(self, image, place, rows, colour):
        """Draws rows of text, and of bars, on a dark ground."""
        left, top, right, bottom = place
        part = image[top:bottom, left:right]
        part[:] = (0.22 * part + 0.78 * np.array(_PANEL)).astype(np.uint8)
        if colour is not None:
            part[:, : self._px(4)] = colour
        has_bars = any(share is not None for _, share, _ in rows)
        names = self._extent([(*r[:1], None, r[2]) for r in rows])[0]
        y = top + self._px(4)
        for text, share, strong in rows:
            y += self._row(strong)
            cv2.putText(
                image,
                text,
                (left + self._px(8), y - self._px(6)),
                _FONT,
                self._text(strong),
                _WHITE,
                self._px(0.9),
                cv2.LINE_AA,
            )
            if has_bars:
                begin, end = left + names, right - self._px(6)
                low, high = y - self._px(14), y - self._px(5)
                cv2.rectangle(image, (begin, low), (end, high), _TRACK, -1)
                if share:
                    reach = begin + round(share * (end - begin))
                    cv2.rectangle(
                        image, (begin, low), (reach, high), _WHITE, -1
                    )


def _corners(box) -> tuple[int, int, int, int]:
    return tuple(round(float(v)) for v in box)


def _meet(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
