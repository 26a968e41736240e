"""The planted task: two streams in which *when* things happen is the answer.

What is planted. Each clip is a pair of sequences of 12 to 16 steps, noise but
for short pulses, each one step long and along a direction of its own:

    face      one expression, a smile or a frown, and one or two blinks
    context   one bang, and one or two flickers

The label says which expression it is and whether it comes after the bang or
before it: an answer to the event, or there already. The two are 1 to 3 steps
apart, never at once; blinks and flickers fall anywhere and mean nothing.

    the face alone      knows smile or frown, but not when the bang was: 2 of
                        the 4 labels stay open
    the context alone   knows when the bang was, but nothing of the face
    pooling over time   sees that each happened, once, and not in what order:
                        the mean, the maximum and any other moment of a stream
                        over its steps have the same distribution before and
                        after
    an oracle           that knows the directions finds both and compares

A little of the order is left to one stream: what comes late in a clip is
likelier to be the later of the two (`bounds` says how much). That is the price
of a task that Parallel-RNN can solve, whose last layer adds one score for each
stream: where such a sum tells the order, the mean of the sum differs between
the orders, and so does that of one of its parts.

The events lie behind the first quarter of a clip, which training may skip
(`emorec.data.input_pipeline`), so that no cut changes a label.
`emorec.data.planted_set` writes the task as a data set.
"""

import dataclasses

import numpy as np

from emorec.data import input_pipeline
from emorec.labels import LabelSet

SOURCE = "emorec-planted"
LABELS = LabelSet(
    SOURCE, ("smile_after", "frown_after", "smile_before", "frown_before")
)
# Directions of the pulses of each stream, in this order.
FACE = ("smile", "frown", "blink")
CONTEXT = ("bang", "flicker")
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Task:
    """The sizes of the task.

    Attributes:
        clips: Clips of the training, validation and test split.
        frames: Fewest and most steps of a clip.
        gap: Fewest and most steps between expression and bang.
        distractors: Fewest and most blinks of a face, and flickers.
        size: D, values of a step, the same in both streams.
        noise: Standard deviation of each value; a pulse is 1 long.
    """

    clips: tuple[int, int, int] = (1000, 200, 600)
    frames: tuple[int, int] = (12, 16)
    gap: tuple[int, int] = (1, 3)
    distractors: tuple[int, int] = (1, 2)
    size: int = 8
    noise: float = 0.15


@dataclasses.dataclass(frozen=True)
class Clips:
    """Drawn clips.

    Attributes:
        face: float32 [N, T, D]; 0 behind a clip's end.
        context: float32 [N, T, D].
        counts: int [N], steps of each clip.
        label_ids: int [N].
        directions: `face` float32 [3, D] and `context` [2, D], of the pulses.
    """

    face: np.ndarray
    context: np.ndarray
    counts: np.ndarray
    label_ids: np.ndarray
    directions: dict[str, np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        """bool [N, T], True at the clips' steps."""
        return np.arange(self.face.shape[1]) < self.counts[:, None]


def draw(split: str, seed: int = 0, task: Task = Task()) -> Clips:
    """Draws a split of the task; the same seed and task give the same.

    Args:
        split: One of `SPLITS`.
        seed: Of directions and clips.
        task: The sizes.
    """
    place = SPLITS.index(split)
    directions = _directions(seed, task)
    rng = np.random.default_rng([seed, place + 1])
    number, longest = task.clips[place], task.frames[1]
    streams = {
        name: np.zeros((number, longest, task.size), np.float32)
        for name in directions
    }
    label_ids = rng.permutation(np.arange(number) % len(LABELS))
    counts = rng.integers(*task.frames, number, endpoint=True)
    for i, (label_id, count) in enumerate(zip(label_ids, counts)):
        for name, pulses in _pulses(rng, label_id, count, task).items():
            values = rng.normal(0, task.noise, (count, task.size))
            for step, kind in pulses:
                values[step] += directions[name][kind]
            streams[name][i, :count] = values
    return Clips(
        **streams, counts=counts, label_ids=label_ids, directions=directions
    )


def _directions(seed, task) -> dict[str, np.ndarray]:
    """Draws orthogonal directions of length 1, a row a kind of pulse."""
    rng = np.random.default_rng([seed, 0])
    return {
        name: np.linalg.qr(rng.normal(size=(task.size, task.size)))[0][
            : len(kinds)
        ].astype(np.float32)
        for name, kinds in (("face", FACE), ("context", CONTEXT))
    }


def _pulses(rng, label_id, count, task) -> dict[str, list[tuple[int, int]]]:
    """Draws the pulses of a clip: (step, kind) of each stream."""
    is_before, expression = divmod(int(label_id), 2)
    gap = int(rng.integers(*task.gap, endpoint=True))
    first = int(rng.integers(quiet_steps(count), count - gap))
    face, bang = (first, first + gap)[:: 1 if is_before else -1]
    made = {}
    for name, step, kind, other in (
        ("face", face, expression, FACE.index("blink")),
        ("context", bang, CONTEXT.index("bang"), CONTEXT.index("flicker")),
    ):
        free = np.delete(np.arange(count), step)
        more = rng.integers(*task.distractors, endpoint=True)
        drawn = rng.choice(free, more, replace=False)
        made[name] = [(step, kind), *((int(s), other) for s in drawn)]
    return made


def quiet_steps(count: int) -> int:
    """Returns how many of a clip's first steps training may skip."""
    return int(count * input_pipeline.MAX_SKIPPED)


def oracle(clips: Clips) -> np.ndarray:
    """Solves the task from the sequences and the directions of the pulses.

    Returns:
        int [N], its answers.
    """
    kind, shown = _found(clips, "face", (0, 1))
    _, banged = _found(clips, "context", (0,))
    return kind + 2 * (shown < banged)


def _found(clips, name, kinds):
    """Finds the strongest pulse of some kinds: (kind [N], step [N])."""
    scores = getattr(clips, name) @ clips.directions[name][list(kinds)].T
    scores = np.where(clips.mask[..., None], scores, -np.inf)
    best = scores.reshape(len(scores), -1).argmax(axis=1)
    return best % len(kinds), best // len(kinds)


def bounds(task: Task = Task()) -> dict[str, float]:
    """Returns the best accuracy possible from one stream alone, 0 to 1.

    Of an answer that knows every pulse of that stream and the length of the
    clip, in the limit of many clips: a sum over all that can be drawn.
    """
    right = 0.0
    lengths = range(task.frames[0], task.frames[1] + 1)
    gaps = range(task.gap[0], task.gap[1] + 1)
    for count in lengths:
        shares = np.zeros((2, count))  # Of each step as first and as second.
        for gap in gaps:
            firsts = range(quiet_steps(count), count - gap)
            for first in firsts:
                shares[(0, 1), (first, first + gap)] += 1 / len(firsts)
        right += shares.max(axis=0).sum() / 2 / len(gaps) / len(lengths)
    return {"face": right, "context": right / 2}


def pooled(clips: Clips) -> np.ndarray:
    """Pools both streams over time, blind to order.

    Returns:
        float32 [N, 8 D]: mean, standard deviation, minimum and maximum of
        each value over a clip's steps.
    """
    mask = clips.mask[..., None]
    made = []
    for values in (clips.face, clips.context):
        mean = values.mean(axis=1, where=mask)
        spread = values.std(axis=1, where=mask)
        low = values.min(axis=1, where=mask, initial=np.inf)
        high = values.max(axis=1, where=mask, initial=-np.inf)
        made += [mean, spread, low, high]
    return np.concatenate(made, axis=1)


def pooled_answers(known: Clips, asked: Clips) -> np.ndarray:
    """Learns the labels from pooled streams, and answers from them.

    Kernel ridge regression with a Gaussian kernel as wide as the spread of
    the clips: it can learn any smooth function of what pooling leaves.

    Args:
        known: The clips to learn from.
        asked: The clips to answer for.

    Returns:
        int [N], its answers for `asked`.
    """
    x, z = pooled(known), pooled(asked)
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    x, z = (x - mean) / spread, (z - mean) / spread

    def kernel(a):
        squares = (a**2).sum(axis=1)[:, None] + (x**2).sum(axis=1)
        return np.exp((2 * a @ x.T - squares) / (2 * x.shape[1]))

    targets = np.eye(len(LABELS))[known.label_ids]
    fitted = np.linalg.solve(kernel(x) + np.eye(len(x)), targets - 0.25)
    return (kernel(z) @ fitted).argmax(axis=1)
