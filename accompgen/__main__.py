"""python -m accompgen"""

import sys

from accompgen.cli import main

sys.exit(main())
