"""OpenCV's resizing of uint8 pictures as plain TensorFlow code.

`emorec.video.clip` and the detector resize with OpenCV, a served graph cannot.
Both give the same pixels, bit for bit. TensorFlow's own op for areas does not:
means that end in .5 fall to the other side (1.6% of the pixels from 320 to
224), which moved a probability by .006 on one of the real clips tried.

So areas are averaged by two products with sparse matrices, whose sums run in
OpenCV's order: along x, then along y, in float32. Measured, 8 frames of 640x360
take 2 to 8 ms a level, as with OpenCV, and 3 to 9 ms once to be laid out.
"""

import tensorflow as tf

# OpenCV's linear weights are whole numbers of 1/2048.
_ONE = 2048
# What OpenCV takes for nothing: a part of a pixel, and of a whole ratio.
_SLIVER = 1e-3
_EPSILON = 2.220446049250313e-16


def columns(images: tf.Tensor) -> tf.Tensor:
    """Lays pictures out for `area_mean`, once for many sizes.

    Args:
        images: uint8 [N, h, w, 3].

    Returns:
        f32 [w, N * h * 3].
    """
    # Bytes are moved before they grow to floats, which take four times more.
    turned = tf.transpose(images, [2, 0, 1, 3])
    flat = tf.reshape(turned, [tf.shape(images)[2], -1])
    return tf.cast(flat, tf.float32)


def area_mean(
    columns: tf.Tensor, shape: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tf.Tensor:
    """Averages areas, as OpenCV's INTER_AREA does with floats.

    Args:
        columns: From the function of that name.
        shape: int32 [4], that of the pictures: N, h, w, 3.
        height: int32 scalar, at most h.
        width: int32 scalar, at most w.

    Returns:
        f32 [N, height, width, 3].
    """
    n, h, w, _ = tf.unstack(shape)
    ratios = _ratio(h, height), _ratio(w, width)
    # Where both are whole, OpenCV sums pixels and divides once.
    whole = tf.reduce_all([tf.abs(r - tf.round(r)) < _EPSILON for r in ratios])
    down, across = (tf.where(whole, tf.round(r), r) for r in ratios)
    x = tf.sparse.sparse_dense_matmul(
        _weights(w, width, across, whole), columns
    )
    x = tf.transpose(tf.reshape(x, [width, n, h, 3]), [2, 1, 0, 3])
    x = tf.sparse.sparse_dense_matmul(
        _weights(h, height, down, whole), tf.reshape(x, [h, -1])
    )
    x = tf.transpose(tf.reshape(x, [height, n, width, 3]), [1, 0, 2, 3])
    return x * tf.where(whole, 1 / tf.cast(down * across, tf.float32), 1.0)


def _ratio(before, after):
    # Two divisions, as OpenCV takes it; one would round otherwise.
    return 1 / (tf.cast(after, tf.float64) / tf.cast(before, tf.float64))


def _weights(before, after, ratio, whole):
    """Returns what each pixel adds to a mean, sparse f32 [after, before]."""
    length = tf.cast(before, tf.float64)
    begin = tf.cast(tf.range(after), tf.float64)[:, None] * ratio
    end = begin + ratio
    covered = tf.minimum(ratio, length - begin)
    # The whole pixels are first to last - 1; parts lie on either side.
    last = tf.minimum(tf.floor(end), length - 1)
    first = tf.minimum(tf.math.ceil(begin), last)
    most = tf.cast(tf.reduce_max(last - first), tf.int32) + 2
    at = first - 1 + tf.cast(tf.range(most), tf.float64)
    rest = tf.minimum(tf.minimum(end - last, 1), covered)
    share = tf.where(
        at < first, first - begin, tf.where(at < last, tf.ones_like(at), rest)
    )
    used = (at <= last) & (((at >= first) & (at < last)) | (share > _SLIVER))
    cells = tf.where(used)
    value = tf.cast(tf.where(whole, share, share / covered), tf.float32)
    pixels = tf.cast(tf.gather_nd(at, cells), tf.int64)
    return tf.SparseTensor(
        tf.stack([cells[:, 0], pixels], 1),
        tf.gather_nd(value, cells),
        tf.cast(tf.stack([after, before]), tf.int64),
    )


def shrink(image: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Averages areas of a uint8 [h, w, 3]; returns uint8 [height, width, 3].

    Args:
        image: The picture.
        height: int32 scalar, at most h.
        width: int32 scalar, at most w.
    """
    images = image[None]
    shape = tf.shape(images)
    mean = area_mean(columns(images), shape, height, width)[0]
    # OpenCV rounds halves to even, but for its own path of 2x2 pixels.
    halved = tf.reduce_all(shape[1:3] == 2 * tf.stack([height, width]))
    mean = tf.where(halved, tf.floor(mean + 0.5), tf.round(mean))
    return tf.saturate_cast(mean, tf.uint8)


def square(
    image: tf.Tensor,
    left: tf.Tensor,
    top: tf.Tensor,
    side: tf.Tensor,
    size: int,
) -> tf.Tensor:
    """Cuts a square out and resizes it, as `emorec.video.clip` does.

    Args:
        image: uint8 [h, w, 3].
        left: int32 scalar; where the square begins, outside of the picture
            too. What lies outside repeats the picture's border.
        top: int32 scalar, likewise.
        side: int32 scalar, at least 1.
        size: Side of the result, pixels.

    Returns:
        uint8 [size, size, 3].
    """
    height, width = tf.unstack(tf.shape(image)[:2])

    def rows(at):
        return tf.clip_by_value(top + at, 0, height - 1)

    def columns(at):
        return tf.clip_by_value(left + at, 0, width - 1)

    def shrunk():
        at = tf.range(side)
        cut = tf.gather(tf.gather(image, rows(at)), columns(at), axis=1)
        return shrink(cut, size, size)

    def enlarged():
        low, high, weights = _linear(side, size)
        # First the pixels of the few rows that are used, then the columns.
        return _vertically(
            *(
                _horizontally(
                    tf.cast(tf.gather(image, rows(at)), tf.int32),
                    columns(low),
                    columns(high),
                    weights,
                )
                for at in (low, high)
            ),
            weights,
        )

    made = tf.cond(side > size, shrunk, enlarged)
    return tf.ensure_shape(made, (size, size, 3))


def _linear(side, size):
    """Returns both neighbours int32 [size] and the second's weight [size]."""
    scale = tf.cast(side, tf.float64) / size
    centres = (tf.range(size, dtype=tf.float64) + 0.5) * scale - 0.5
    at = tf.cast(centres, tf.float32)
    low = tf.floor(at)
    weights = tf.cast(tf.round((at - low) * _ONE), tf.int32)
    low = tf.cast(low, tf.int32)
    # Beyond the outermost centres both neighbours are the border.
    return (
        tf.clip_by_value(low, 0, side - 1),
        tf.clip_by_value(low + 1, 0, side - 1),
        weights,
    )


def _horizontally(lines, low, high, weights):
    weights = weights[:, None]
    return tf.gather(lines, low, axis=1) * (_ONE - weights) + (
        tf.gather(lines, high, axis=1) * weights
    )


def _vertically(low, high, weights):
    # The digits that OpenCV drops on the way, it drops in each summand.
    weights = weights[:, None, None]
    total = ((_ONE - weights) * (low // 16)) // 65536 + (
        weights * (high // 16)
    ) // 65536
    return tf.cast((total + 2) // 4, tf.uint8)
