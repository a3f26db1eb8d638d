"""`python -m leyden_client` is the `leyden` command."""

import sys

from leyden_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
