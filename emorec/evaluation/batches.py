"""Batches of what a backend is asked for, bounded in number and in bytes."""

from collections.abc import Callable, Iterable, Iterator

# JPEGs asked for at once, for an evaluation and for a prediction: a request
# must stay below a server's limit (ours takes 256 MiB).
BATCH_BYTES = 64 << 20


def bounded(
    items: Iterable, size: Callable[..., int], most: int
) -> Iterator[list]:
    """Cuts items into batches that fit a request.

    Args:
        items: What is asked for.
        size: Gives an item's bytes.
        most: Items of a batch, at most.

    Yields:
        Lists of at most `BATCH_BYTES`; one item beyond that goes alone.
    """
    batch, held = [], 0
    for item in items:
        more = size(item)
        if batch and held + more > BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += more
        if len(batch) == most:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
