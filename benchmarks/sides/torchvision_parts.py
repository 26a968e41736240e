"""What facenet-pytorch takes of torchvision, where there is none.

torchvision's wheels on PyPI are built for torch with CUDA; beside torch for
processors they fail at import. Of it facenet-pytorch's MTCNN calls
`batched_nms` alone (and `to_tensor`, where faces are cut out). `seconds` counts
the time of the NumPy form.
"""

import sys
import time
import types

seconds = 0.0


def provide() -> None:
    """Puts modules of these names in the place of torchvision's."""
    names = (
        "torchvision",
        "torchvision.ops",
        "torchvision.ops.boxes",
        "torchvision.transforms",
        "torchvision.transforms.functional",
    )
    made = {name: types.ModuleType(name) for name in names}
    for name, module in made.items():
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(made[parent], last, module)
    made["torchvision.ops.boxes"].batched_nms = batched_nms
    made["torchvision.transforms.functional"].to_tensor = to_tensor
    sys.modules.update(made)


def batched_nms(boxes, scores, groups, threshold):
    """Greedy suppression within each group; indices, best score first."""
    import numpy as np
    import torch

    global seconds
    start = time.perf_counter()
    a = boxes.detach().numpy().astype(np.float64)
    group = groups.numpy().astype(np.float64)[:, None]
    # Boxes of other groups lie too far off to overlap.
    a = a + group * (a.max(initial=0) + 1)
    area = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    order = np.argsort(-scores.detach().numpy(), kind="stable")
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        low = np.maximum(a[first, :2], a[rest, :2])
        high = np.minimum(a[first, 2:], a[rest, 2:])
        inside = np.clip(high - low, 0, None).prod(1)
        order = rest[inside <= threshold * (area[first] + area[rest] - inside)]
    seconds += time.perf_counter() - start
    return torch.tensor(np.array(kept, np.int64))


def to_tensor(image):
    """[H, W, C] to [C, H, W]."""
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).copy())
