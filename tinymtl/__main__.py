"""`python -m tinymtl`."""

import sys

from tinymtl.cli import main

if __name__ == "__main__":  # worker processes import this module too
    sys.exit(main())
