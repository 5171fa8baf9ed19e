"""Puts into the wheel what cargo builds: the program goes to `bin`, the extension to `lib/destrier` beside it, where the program looks for it.

The build is a release unless DESTRIER_WHEEL_PROFILE names another profile of cargo.
"""

import json
import os
import subprocess
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags


class CargoHook(BuildHookInterface):
    def initialize(self, version, build_data):
        profile = os.environ.get("DESTRIER_WHEEL_PROFILE", "release")
        self.cargo("build", "--locked", "--profile", profile)
        metadata = json.loads(self.cargo("metadata", "--locked", "--no-deps", "--format-version=1", stdout=subprocess.PIPE).stdout)
        # That of `dev` is the only one with another name.
        built = Path(metadata["target_directory"], "debug" if profile == "dev" else profile)
        packed = Path(metadata["target_directory"], "wheel", profile)
        packed.mkdir(parents=True, exist_ok=True)
        for name in ("destrier", "libdestrier_python.so"):
            # Names of functions stay, for backtraces; numbers of lines would be four fifths of the wheel.
            subprocess.run(["strip", "--strip-debug", "-o", packed / name, built / name], check=True)
        build_data["shared_scripts"][str(packed / "destrier")] = "destrier"
        build_data["shared_data"][str(packed / "libdestrier_python.so")] = "lib/destrier/libdestrier_python.so"
        # Nothing of it is imported from the wheel, so it is for every Python; and for the C library of this machine and later ones.
        platform = next(tag for tag in platform_tags() if not tag.startswith("linux_"))
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False

    def cargo(self, *arguments, **options):
        return subprocess.run([os.environ.get("CARGO", "cargo"), *arguments], cwd=self.root, check=True, **options)
