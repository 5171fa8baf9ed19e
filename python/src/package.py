# Makes the package `destrier` importable in a worker, however destrier was installed: its modules are in the extension.
import sys
from _frozen_importlib import ModuleSpec


class Finder:
    """Imports from one entry of `sys.path`, that of the extension, as zipimport does from one that is an archive."""

    def __init__(self, entry, sources):
        self.entry = entry
        self.sources = sources

    def __call__(self, entry):
        if entry != self.entry:
            raise ImportError("not ours")
        return self

    def find_spec(self, name, target=None):
        if name not in self.sources:
            return None
        is_package = "." not in name
        path = name.replace(".", "/") + ("/__init__" if is_package else "")
        spec = ModuleSpec(name, self, origin="%s/%s.py" % (self.entry, path), is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations.append(self.entry)
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        spec = module.__spec__
        exec(compile(self.get_source(spec.name), spec.origin, "exec"), module.__dict__)

    def get_source(self, name):
        return self.sources[name]


def offer(sources):
    entry = sys.modules["destrier_python"].__file__
    if entry not in sys.path:
        sys.path_hooks.insert(0, Finder(entry, sources))
        # Last: what is installed comes first, and so does a package of the application's own that has this name.
        sys.path.append(entry)
