"""`python -m tests.fuzz TARGET [--seconds N] [CORPUS…]`, from the root of the repository."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where the tests find each other
    from fuzz.command import main

    sys.exit(main())
