"""`python -m comity.shell.cli`: the `comity` command without its script."""

import sys

from comity.shell.cli import main

sys.exit(main())
