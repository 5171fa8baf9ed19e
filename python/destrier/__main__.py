"""``python -m destrier``: the program, of which this package is a part."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, files


def program() -> str:
    """Where the program lies that was installed with this package."""
    try:
        installed = files("destrier") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        path = os.path.normpath(str(file.locate()))
        if file.parts[-2:] == ("bin", "destrier") and os.path.isfile(path):
            return path
    raise SystemExit("there is no program `destrier` beside this package; install both with `pip install destrier`")


def main() -> None:
    path = program()
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
