"""`python3 slurm-test/compose VERB`: lets the modules of the folder above be found, and runs the command line."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from compose.command_line import main  # noqa: E402 - it is found only now

sys.exit(main())
