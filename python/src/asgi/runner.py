# The event loop of an ASGI application, and the application's lifespan: started up, run, shut down.
import asyncio
import inspect
import traceback


def new_loop():
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Runner:
    def __init__(self, app, named):
        self.loop = new_loop()
        asyncio.set_event_loop(self.loop)
        self.lifespan = Lifespan(app, named, self.loop)
        self.state = self.lifespan.state
        self.late = None

    def start(self):
        """Returns why the application did not start up, and what else there is to know of that."""
        return self.loop.run_until_complete(self.lifespan.start())

    def run(self, descriptor, turn):
        self.loop.add_reader(descriptor, turn)
        while True:
            try:
                self.loop.run_forever()
                break
            except (SystemExit, KeyboardInterrupt):
                # Of a task, which has it too: one request does not end the process.
                pass
        self.loop.remove_reader(descriptor)

    def close(self, patience):
        """No request can come any more; what is under way has so many seconds."""
        self.late = self.loop.call_later(patience, self.loop.stop)

    def stop(self):
        if self.late is not None:
            self.late.cancel()
        self.loop.stop()

    def end(self, patience):
        """Returns what was wrong with the end."""
        problem = self.loop.run_until_complete(self.lifespan.end(patience))
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=0.2))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        return problem


class Lifespan:
    """What the application is told of its own life (ASGI, "Lifespan Protocol")."""

    def __init__(self, app, named, loop):
        self.app = app
        self.named = named
        self.loop = loop
        self.state = {}
        self.messages = [{"type": "lifespan.startup"}]
        self.wanted = None
        self.started = loop.create_future()
        self.ended = loop.create_future()
        self.task = None
        # Whether it has asked what there is to do, as one does that knows what this is.
        self.has_begun = False
        self.is_foreign = False
        self.is_supported = False

    async def start(self):
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            coroutine = self.app(scope, self.receive, self.send)
        except TypeError as error:
            return self.no_application(str(error))
        except Exception:
            return None, None
        if not inspect.isawaitable(coroutine):
            return self.no_application("it returned %s, which cannot be awaited" % type(coroutine).__name__)
        self.task = self.loop.create_task(self.live(coroutine))
        return await self.started

    def no_application(self, reason):
        return "%s is no ASGI 3 application: %s; one that speaks WSGI is for `app.wsgi`" % (self.named, reason), None

    async def live(self, coroutine):
        failure = None
        try:
            await coroutine
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            failure = error
        finally:
            self.over(failure)

    def over(self, error):
        if not self.started.done():
            knows = self.has_begun and not self.is_foreign
            if error is not None and knows:
                last = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
                if isinstance(error, SystemExit):
                    last = "it exits, with %r" % (error.code,)
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
                self.started.set_result(("%s failed to start up: %s" % (self.named, last), text))
            else:
                # It does not know what a lifespan is.
                self.started.set_result((None, None))
        if not self.ended.done():
            text = None
            if error is not None and self.is_supported:
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self.ended.set_result(text)

    async def receive(self):
        self.has_begun = True
        while not self.messages:
            self.wanted = self.loop.create_future()
            await self.wanted
        return self.messages.pop(0)

    async def send(self, message):
        kind = message["type"]
        if kind == "lifespan.startup.complete" and not self.started.done():
            self.is_supported = True
            self.started.set_result((None, None))
        elif kind == "lifespan.startup.failed" and not self.started.done():
            text = str(message.get("message", "")).strip()
            lines = text.splitlines()
            reason = "%s failed to start up: %s" % (self.named, lines[-1] if lines else "it does not say why")
            self.started.set_result((reason, text if len(lines) > 1 else None))
        elif kind == "lifespan.shutdown.complete" and not self.ended.done():
            self.ended.set_result(None)
        elif kind == "lifespan.shutdown.failed" and not self.ended.done():
            self.ended.set_result(str(message.get("message", "")) or "it does not say why")
        else:
            self.is_foreign = not kind.startswith("lifespan.")
            raise RuntimeError("`%s` is no message of a lifespan at this point" % kind)

    async def end(self, patience):
        if self.task is None or not self.is_supported:
            return None
        self.messages.append({"type": "lifespan.shutdown"})
        if self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)
        done, _ = await asyncio.wait([self.ended], timeout=patience)
        return self.ended.result() if done else "its time is over (`workers.graceful_timeout`)"
