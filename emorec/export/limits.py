"""What a signature takes: every refusal names the input and tells the rule.

A server does not hold a request against the shapes of its signature, and an
op's own error names a node of the graph and no input, so each rule is an
assertion in the graph: INVALID_ARGUMENT for a client.
"""

from collections.abc import Sequence

import tensorflow as tf

# Most steps of a clip; as many as `clip.clip_frames` may ask for.
MAX_STEPS = 4096
# Start of image, and the first byte of the marker after it.
_JPEG_START = b"\xff\xd8\xff"
# End of image; cameras fill up behind it, so it is looked for in some bytes.
_JPEG_END = (0xFF, 0xD9)
_JPEG_TAIL = 256
# Names of the axes whose size is free.
_AXES = ("B", "T", "h", "w")


def check(condition: tf.Tensor, rule: str) -> tf.Operation:
    """Returns an assertion; `rule` is what a client reads."""
    return tf.debugging.Assert(condition, [rule])


def after(checks: Sequence[tf.Operation], *values: tf.Tensor):
    """Returns the values, which nobody gets before the checks have passed.

    Args:
        checks: Assertions.
        *values: At least one.

    Returns:
        A tensor for one value, else a list of them.
    """
    # None is what an assertion leaves outside of a graph.
    with tf.control_dependencies([c for c in checks if c is not None]):
        made = [tf.identity(v) for v in values]
    return made[0] if len(made) == 1 else made


def shaped(value: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """Refuses another rank than the signature's, or other fixed sizes."""
    # A shape that the graph's builder knows is a constant of the graph, and
    # would be compared with itself.
    fed = tf.compat.v1.placeholder_with_default(value, None)
    sizes = spec.shape.as_list()
    text = ", ".join(
        _AXES[i] if size is None else str(size) for i, size in enumerate(sizes)
    )
    rule = f"`{spec.name}` must have the shape [{text}]"
    right_rank = check(tf.equal(tf.rank(fed), len(sizes)), rule)
    found = tf.shape(after([right_rank], fed))
    fixed = [i for i, size in enumerate(sizes) if size is not None]
    return after(
        [
            right_rank,
            *(check(tf.equal(found[i], sizes[i]), rule) for i in fixed),
        ],
        value,
    )


def steps(value: tf.Tensor, name: str, most: int = MAX_STEPS) -> tf.Operation:
    """Checks the size of axis 1 of [B, T, ...]."""
    return check(
        tf.shape(value)[1] <= most, f"`{name}` must have at most {most} steps"
    )


def prefix(mask: tf.Tensor, rule: str) -> tf.Operation:
    """Checks that each row of bool [B, T] is True n times, then False."""
    counts = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    right = tf.sequence_mask(counts, tf.shape(mask)[1])
    return check(tf.reduce_all(mask == right), rule)


def same_steps(
    a: tf.Tensor, b: tf.Tensor, name_a: str, name_b: str
) -> tf.Operation:
    """Checks that axes 0 and 1 of two inputs are of one size."""
    return check(
        tf.reduce_all(tf.shape(a)[:2] == tf.shape(b)[:2]),
        f"`{name_a}` and `{name_b}` must have equal batch sizes and lengths",
    )


def finite(value: tf.Tensor, name: str) -> tf.Operation:
    """Checks that floats are neither NaN nor infinite, in padding too."""
    return check(
        tf.reduce_all(tf.math.is_finite(value)),
        f"`{name}` must hold finite numbers",
    )


def pictures(value: tf.Tensor, name: str, most: int) -> tf.Operation:
    """Checks the size of pictures [..., h, w, 3]: 1 to `most` pixels."""
    sides = tf.cast(tf.shape(value)[-3:-1], tf.int64)
    pixels = tf.reduce_prod(sides)
    return check(
        (pixels >= 1) & (pixels <= most),
        f"`{name}` must hold pictures of 1 to {most} pixels",
    )


def jpegs(value: tf.Tensor, mask: tf.Tensor, name: str) -> list[tf.Operation]:
    """Checks that strings are whole JPEG images where the mask is True.

    The decoder would name no input, and libjpeg would write to the server's
    log. What only the decoder sees is refused by the decoder.

    Args:
        value: string [B, T].
        mask: bool [B, T].
        name: The input's.
    """
    held = tf.boolean_mask(value, mask)
    starts = tf.strings.substr(held, 0, len(_JPEG_START)) == _JPEG_START
    lengths = tf.strings.length(held)
    at = tf.maximum(lengths - _JPEG_TAIL, 0)
    tails = tf.io.decode_raw(
        tf.strings.substr(held, at, tf.fill(tf.shape(at), _JPEG_TAIL)),
        tf.uint8,
        fixed_length=_JPEG_TAIL,
    )
    ends = tf.reduce_any(
        (tails[:, :-1] == _JPEG_END[0]) & (tails[:, 1:] == _JPEG_END[1]), 1
    )
    return [
        check(
            tf.reduce_all(starts),
            f"`{name}` must hold JPEG images or empty strings",
        ),
        check(
            tf.reduce_all(ends | ~starts),
            f"`{name}` must hold whole JPEG images: one is cut short",
        ),
    ]
