"""Writes all of the handbook's files that are not written by hand."""

import runpy
from pathlib import Path

for script in sorted(Path(__file__).parent.glob("write_*.py")):
    runpy.run_path(str(script), run_name="__main__")
