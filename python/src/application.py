# Finds the application that `MODULE:ATTRIBUTE` names. What is wrong is said in one sentence, with what helps.
import ast
import difflib
import inspect
import os
import sys
import traceback


class Refusal(Exception):
    pass


def load(key, module, attribute, folder):
    """Returns the application; or None, the reason, and a traceback where its own code failed."""
    # As the interpreter does for a script. With `-c` it was the current folder, by the name of nothing.
    if sys.path[:1] == [""]:
        del sys.path[0]
    sys.path.insert(0, folder)
    sys.argv[:] = ["destrier"]
    try:
        application = find(module, attribute, folder)
        refuse_green_threads()
        refuse_other_interface(key, module, attribute, application)
        import_urls_of_django()
        return application, None, None
    except Refusal as refusal:
        return None, "`%s`: %s" % (key, refusal), None
    except BaseException as error:
        return None, reason_of(module, attribute, error), traceback_of(error)


def find(module, attribute, folder):
    expression = parse(module, attribute)
    loaded = import_module(module, folder)
    application = evaluate(module, attribute, expression, loaded)
    if not callable(application):
        raise Refusal(
            "`%s:%s` is not callable, it is %s" % (module, attribute, described(application))
        )
    return application


def refuse_green_threads():
    """They take the place of threads of the system, on which requests are executed here."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        name, call = "gevent", "gevent.monkey.patch_all()"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name, call = "eventlet", "eventlet.monkey_patch()"
    else:
        return
    raise Refusal(
        "%s has taken the place of the threads that requests are executed on: leave out `%s`; more of `app.threads` do what it did, or ASGI"
        % (name, call)
    )


def refuse_other_interface(key, module, attribute, application):
    """An application of ASGI answers each call as WSGI has it with an error. The other way round is seen when it is started up."""
    calls = (application, getattr(type(application), "__call__", None))
    if key == "app.wsgi" and any(map(inspect.iscoroutinefunction, calls)):
        raise Refusal(
            "`%s:%s` speaks ASGI: name it in `app.asgi`, or as `asgi:%s:%s` on the command line"
            % (module, attribute, module, attribute)
        )


def import_urls_of_django():
    """Django imports the URLconf of a site, and with it the views, at the first request. Done here, workers share it, nobody waits for it, and a site that
    could only answer 500 does not come into force."""
    if "django.core.handlers.base" not in sys.modules:
        return
    from django.conf import settings
    from django.urls import get_resolver

    try:
        if settings.configured and getattr(settings, "ROOT_URLCONF", None):
            get_resolver().url_patterns
    finally:
        close_connections()


def close_connections():
    """Those to databases that Django has opened meanwhile: it opens them anew, and no two processes can use one."""
    database = sys.modules.get("django.db")
    try:
        if database is not None:
            database.connections.close_all()
    except Exception:
        pass


def import_module(module, folder):
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        is_it = missing == module or module.startswith(missing + ".")
        if not is_it or depth(error.__traceback__) > 0:
            raise
        nearest = near(missing.rpartition(".")[2], modules_in(missing, folder))
        raise Refusal(
            "there is no module `%s`%s; it was looked for in `%s` (`app.chdir`) and in the packages of `%s`"
            % (missing, nearest, folder, sys.executable)
        ) from None
    return sys.modules[module]


def parse(module, attribute):
    try:
        expression = ast.parse(attribute, mode="eval").body
    except SyntaxError:
        raise Refusal(
            "`%s` is neither a name nor a call, as in `application` or `create_app()`" % attribute
        ) from None
    return expression


def evaluate(module, attribute, expression, loaded):
    if isinstance(expression, ast.Name):
        return member(module, loaded, expression.id)
    if isinstance(expression, ast.Attribute):
        return member(module, evaluate(module, attribute, expression.value, loaded), expression.attr)
    if isinstance(expression, ast.Call):
        try:
            arguments = [ast.literal_eval(each) for each in expression.args]
            named = {each.arg: ast.literal_eval(each.value) for each in expression.keywords}
        except ValueError:
            named = {None: None}
        if None in named:
            raise Refusal("the arguments of `%s` must be literals" % attribute)
        factory = evaluate(module, attribute, expression.func, loaded)
        if not callable(factory):
            raise Refusal(
                "`%s` in `%s` cannot be called, it is %s"
                % (ast.unparse(expression.func), module, described(factory))
            )
        return factory(*arguments, **named)
    raise Refusal(
        "`%s` is neither a name nor a call, as in `application` or `create_app()`" % attribute
    )


def member(module, owner, name):
    try:
        return getattr(owner, name)
    except AttributeError:
        names = [each for each in dir(owner) if not each.startswith("_")]
        raise Refusal(
            "`%s` has no `%s`%s" % (module, name, near(name, names))
        ) from None


def modules_in(missing, folder):
    folder = os.path.join(folder, *missing.split(".")[:-1])
    try:
        return [os.path.splitext(name)[0] for name in os.listdir(folder)]
    except OSError:
        return []


def near(name, names):
    found = difflib.get_close_matches(name, names, 1)
    return "; did you mean `%s`?" % found[0] if found else ""


def described(value):
    name = type(value).__name__
    return "%s %s" % ("an" if name[:1].lower() in "aeiou" else "a", name)


def depth(trace):
    """How many frames of others than this file and the import system there are."""
    count = 0
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<frozen importlib"):
            count += 1
        trace = trace.tb_next
    return count


def own(error):
    """The traceback from the application's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


def traceback_of(error):
    return "".join(traceback.format_exception(type(error), error, own(error)))


def reason_of(module, attribute, error):
    last = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    if isinstance(error, SystemExit):
        last = "it exits when it is imported, with %r" % (error.code,)
    frames = traceback.extract_tb(own(error))
    place = " (%s:%d)" % (frames[-1].filename, frames[-1].lineno) if frames else ""
    if isinstance(error, SyntaxError) and error.filename:
        place = " (%s:%d)" % (error.filename, error.lineno or 0)
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = "; install it for `%s`" % sys.executable
    return "cannot load `%s:%s`: %s%s%s" % (module, attribute, last, place, hint)
