"""The two CNNs as plain Keras models, in either environment."""


def load() -> dict:
    """Returns `mini_xception` and `squeezenet`, uint8 [N, 224, 224, 3] in.

    `random` lists those whose published weights were not found: random ones
    take as long.
    """
    from emorec.features import encoder

    found = {"random": []}
    for name in ("mini_xception", "squeezenet"):
        made = encoder.create(name, allow_random=True, download=False)
        found[name] = made.part("features")
        if made.weights["random"]:
            found["random"].append(name)
    return found
