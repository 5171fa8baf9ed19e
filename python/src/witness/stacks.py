# What threads do, as text: the calls that each is in, the last one last. Where they are too many to be told, the first ones are left out.
import sys
import threading
import traceback


def of_thread(ident, most):
    frame = sys._current_frames().get(ident)
    return None if frame is None else described(frame, most)


def of_all(threads_most, most):
    """Ident, name and calls of each thread but this one; and how many were left out."""
    own = threading.get_ident()
    frames = [item for item in sys._current_frames().items() if item[0] != own]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = [
        (ident, names.get(ident, "thread %d" % ident), described(frame, most))
        for ident, frame in frames[:threads_most]
    ]
    return told, max(0, len(frames) - threads_most)


def described(frame, most):
    text = "".join(traceback.format_stack(frame)).rstrip()
    if len(text) > most:
        text = text[-most:]
        text = "  ...\n" + text[text.find("\n") + 1:]
    return text
