"""`python -m emorec`: the `emorec` command."""

import sys

from emorec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
