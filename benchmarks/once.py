"""A side as a whole process: prepared, run once, and over.

python -m benchmarks.once benchmarks.sides.fer_frames '{"video": ...}'
"""

import importlib
import json
import sys


def main(words: list[str]) -> None:
    module, args = words
    side = importlib.import_module(module)
    print(json.dumps(side.prepare(json.loads(args))()))


if __name__ == "__main__":
    main(sys.argv[1:])
