# What a template has after its import that no process which is forked from it can have. Each is told with where it came from, as
# far as that can be seen.
import atexit
import gc
import os
import sys
import threading
import time

TASKS = "/proc/self/task"
DESCRIPTORS = "/proc/self/fd"
# In seconds.
EXEC_ENDS_WITHIN = 0.1
# Where the ways of an object lead nowhere.
PLUMBING = {"socket", "_socket", "ssl", "asyncio", "selectors", "sqlite3", "_sqlite3", "builtins", "threading", "multiprocessing"}
PLUMBING |= {"concurrent", "tempfile", "weakref", "functools"}
# What processes would take out of each other's hands.
SHARED = {
    "anon_inode:[eventpoll]": "an event loop (eventpoll)",
    "anon_inode:[io_uring]": "an event loop (io_uring)",
    "anon_inode:[eventfd]": "an eventfd",
    "anon_inode:[timerfd]": "a timerfd",
    "anon_inode:[signalfd]": "a signalfd",
    "anon_inode:inotify": "an inotify",
    "anon_inode:[fanotify]": "a fanotify",
}


class Watch:
    """Stands among the finders of modules, finds none, and notes after which import a thread or a descriptor was there first."""

    def __init__(self):
        self.module = None
        self.after = {}
        self.before = set()
        self.look()
        self.before, self.after = set(self.after), {}
        sys.meta_path.insert(0, self)

    def look(self):
        seen = {(place, name) for place in (TASKS, DESCRIPTORS) for name in os.listdir(place)} - self.before
        for gone in self.after.keys() - seen:
            del self.after[gone]
        for place, name in seen - self.after.keys():
            # Not the descriptor of the list itself.
            if os.path.lexists("%s/%s" % (place, name)):
                self.after[place, name] = self.module

    def find_spec(self, name, path=None, target=None):
        self.look()
        self.module = name
        return None

    def end(self):
        """The problems, or none."""
        sys.meta_path.remove(self)
        self.look()
        # A queue has two pipes, a pool of processes has six.
        return list(dict.fromkeys(threads(self) + descriptors(self) + things() + children()))

    def guess(self, place, name):
        module = self.after.get((place, name))
        return "" if module is None else ", there since about the import of `%s`" % module


def settle():
    """What is there now is there in every worker: no collector shall touch its pages."""
    gc.collect()
    gc.freeze()


def end():
    """What a process does at its end but for its threads, which it would wait for."""
    atexit._run_exitfuncs()


def threads(watch):
    known = {str(each.native_id): each for each in threading.enumerate()}
    tasks = [task for task in sorted(os.listdir(TASKS), key=int) if task != str(os.getpid())]
    hint = None if known.keys() >= set(tasks) else hint_at_openblas()
    found = []
    for task in tasks:
        thread = known.get(task)
        if thread is None:
            name = read("%s/%s/comm" % (TASKS, task)) or "?"
            found.append("the thread `%s`, which is not Python's%s" % (name, hint or watch.guess(TASKS, task)))
        else:
            found.append("the thread `%s`%s" % (thread.name, work_of(thread)))
    return found


def hint_at_openblas():
    if "openblas" in (read("/proc/self/maps") or "").lower():
        return ": OpenBLAS, which NumPy brings along, makes such, unless `app.env` has `OPENBLAS_NUM_THREADS = \"1\"`"
    return None


def work_of(thread):
    """What it runs, and where that is."""
    target = getattr(thread, "_target", None)
    if target is None and type(thread) is not threading.Thread:
        target = type(thread)
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if module in (None, "threading"):
        module, name = outermost(sys._current_frames().get(thread.ident)), None
    if module is None:
        return ""
    return " of `%s`" % (module if name is None else "%s.%s" % (module, name))


def outermost(frame):
    found = None
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module not in PLUMBING:
            found = module
        frame = frame.f_back
    return found


def descriptors(watch):
    found = []
    for name in sorted(os.listdir(DESCRIPTORS), key=int):
        if (DESCRIPTORS, name) in watch.before:
            continue
        try:
            target = os.readlink("%s/%s" % (DESCRIPTORS, name))
        except OSError:
            # That of the list itself.
            continue
        what = described(int(name), target)
        if what is not None:
            found.append(what + (kept_by(int(name)) or watch.guess(DESCRIPTORS, name)))
    return found


def described(descriptor, target):
    if target.startswith("socket:"):
        return socket_at(descriptor)
    if target.startswith("pipe:"):
        # As of a queue, or of a pool of processes: each worker would take what is for another one.
        return "a pipe"
    if target in SHARED:
        return SHARED[target]
    if target.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri/")):
        return "the open device `%s`" % target
    return None


def socket_at(descriptor):
    socket = sys.modules.get("socket")
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            if (copy.family, copy.type) == (socket.AF_UNIX, socket.SOCK_DGRAM):
                # To a log, a packet at a time and without an answer: that many can share.
                return None
            try:
                return "an open socket to %s" % shown(copy.getpeername())
            except OSError:
                return "an open socket at %s" % shown(copy.getsockname())
    except (AttributeError, OSError, ValueError):
        return "an open socket"


def shown(address):
    if isinstance(address, tuple):
        return "`%s:%s`" % address[:2]
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    return "`%s`" % address if address else "nobody"


def kept_by(descriptor):
    """The module that keeps the socket, or the end of the pipe, where Python knows it."""
    kinds = [("socket", "socket"), ("multiprocessing.connection", "Connection")]
    kinds = tuple(getattr(sys.modules[module], name, ()) for module, name in kinds if module in sys.modules)
    for each in gc.get_objects():
        # Its class as it says itself could be that of something that is not there yet.
        if issubclass(type(each), kinds) and number_of(each) == descriptor:
            return keeper(each)
    return ""


def number_of(socket):
    try:
        return socket.fileno()
    except Exception:
        return None


def keeper(thing):
    """Up from an object to the module that has it, or to the class of what has it."""
    level, seen, owner = [thing], {id(thing)}, None
    for _ in range(4):
        above = []
        for each in gc.get_referrers(*level):
            if id(each) in seen or each is level or each is above or type(each).__name__ == "frame":
                continue
            seen.add(id(each))
            if type(each) is dict and type(each.get("__name__")) is str:
                module = sys.modules.get(each["__name__"])
                if module is not None and vars(module) is each and each["__name__"] not in PLUMBING:
                    return " of `%s`" % each["__name__"]
            module = type(each).__module__
            if type(module) is str and owner is None and module.partition(".")[0] not in PLUMBING:
                owner = module
            above.append(each)
        level = above[:100]
        if not level:
            break
    return " of `%s`" % owner if owner else ""


def things():
    """Connections to SQLite, which lose their locks in a child; and temporary folders that are removed at the end, by the first worker that ends."""
    connection = getattr(sys.modules.get("sqlite3"), "Connection", ())
    folder = getattr(sys.modules.get("tempfile"), "TemporaryDirectory", ())
    found = []
    for each in gc.get_objects():
        if issubclass(type(each), connection) and is_open(each):
            found.append("an open connection to an SQLite database" + keeper(each))
        elif issubclass(type(each), folder) and getattr(getattr(each, "_finalizer", None), "alive", False):
            found.append("the temporary folder `%s`%s, which is removed when a worker ends" % (each.name, keeper(each)))
    return found


def is_open(connection):
    try:
        connection.total_changes
    except Exception:
        return False
    return True


def children():
    """They would be waited for by nobody."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    own = "PPid:\t%d" % os.getpid()
    found = [pid for pid in os.listdir("/proc") if pid.isdigit() and own in lines("/proc/%s/status" % pid)]
    return ["the child process %s, `%s`" % (pid, command(pid)) for pid in found] or ["a child process"]


def command(pid):
    """Of a child. It bears our name until its exec(2) has ended, which is a moment after that has let us go on."""
    ends = time.monotonic() + EXEC_ENDS_WITHIN
    while in_exec(pid) and time.monotonic() < ends:
        time.sleep(0.001)
    return name(pid) or "?"


def in_exec(pid):
    """Another program already, and our name still."""
    return name(pid) == name("self") and program(pid) not in (None, program("self"))


def name(pid):
    return read("/proc/%s/comm" % pid)


def program(pid):
    try:
        return os.readlink("/proc/%s/exe" % pid)
    except OSError:
        return None


def lines(path):
    return (read(path) or "").splitlines()


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except (OSError, ValueError):
        return None
