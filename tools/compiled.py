"""Print the C files that a build directory compiles, each once.

    compiled.py BUILD_DIR
"""

import json
import sys
from pathlib import Path

build = Path(sys.argv[1])
commands = json.loads((build / "compile_commands.json").read_text("utf-8"))
files = {(Path(c["directory"]) / c["file"]).resolve() for c in commands}
for file in sorted(files):
    if file.suffix == ".c":
        print(file)
