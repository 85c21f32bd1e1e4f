"""``python -m distillfss``"""

import sys

from distillfss.cli import main

if __name__ == "__main__":
    sys.exit(main())
