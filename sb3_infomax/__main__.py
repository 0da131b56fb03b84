"""``python -m sb3_infomax`` is the command ``sb3-infomax``."""

import sys

from sb3_infomax.cli import main

if __name__ == "__main__":
    sys.exit(main())
