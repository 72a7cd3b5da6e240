"""benchmarks/ is run from the checkout and not installed, so the tests must be told where it is."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
