# The first thing that runs in an application's interpreter: makes it a worker, or says in one sentence why it cannot be one.
# Arguments: the descriptor of this text, the extension, the descriptor of the parcel, that of the channel. Any Python can read it.
import os
import sys


def refuse(reason):
    import json

    line = json.dumps({"type": "failed", "reason": reason}) + "\n"
    os.write(int(sys.argv[4]), line.encode("utf-8"))
    # Nothing of the application has run.
    os._exit(3)


def problem_of_interpreter():
    named = "`%s` is " % sys.executable
    fix = ", which destrier cannot use; name another interpreter with `app.python`"
    if sys.version_info < (3, 9):
        return named + "Python %d.%d" % sys.version_info[:2] + fix + ", Python 3.9 or newer"
    if sys.implementation.name != "cpython":
        return named + sys.implementation.name + fix + ", a CPython"
    if "t" in getattr(sys, "abiflags", ""):
        return named + "a free-threaded build" + fix + ", one with the GIL"
    return None


def problem_of_extension(path, error):
    # What the dynamic linker says of a library of another libc.
    text = str(error)
    if "GLIBC_" in text or "libc.musl" in text or "ld-linux" in text or "ld-musl" in text:
        text += "; it is built for another C library than that of `%s`: take the destrier that is built for this system" % sys.executable
    return "cannot load `%s` into `%s`: %s" % (path, sys.executable, text)


def load(path):
    import _imp
    from _frozen_importlib import ModuleSpec
    from _frozen_importlib_external import ExtensionFileLoader

    if not hasattr(_imp, "create_dynamic"):
        raise ImportError("it is built without support for shared objects")
    # importlib.util would do the same, and import a dozen modules first.
    spec = ModuleSpec("destrier_python", ExtensionFileLoader("destrier_python", path), origin=path)
    module = _imp.create_dynamic(spec)
    _imp.exec_dynamic(module)
    module.__file__ = path
    sys.modules["destrier_python"] = module
    return module


def main():
    path, parcel = sys.argv[2], int(sys.argv[3])
    os.close(int(sys.argv[1]))
    problem = problem_of_interpreter()
    if problem:
        refuse(problem)
    try:
        extension = load(path)
    except ImportError as error:
        refuse(problem_of_extension(path, error))
    try:
        serve = extension.serve
        sys.exit(serve(parcel))
    except OSError as error:
        refuse(str(error))


main()
