"""`destrier.claims` with requests of real frameworks, outside a worker."""

import os
import subprocess
import sys
import unittest
from unittest import mock

import destrier

CLAIMS = {"sub": "anna", "roles": ["editor"]}


def allowed():
    return mock.patch.dict(os.environ, {"DESTRIER_ALLOW_OUTSIDE_WORKER": "1"})


class Claims(unittest.TestCase):
    def check(self, make):
        """`make` returns a request of an environ or a scope that has these items too."""
        with allowed():
            self.assertEqual(destrier.claims(make({"destrier.claims": CLAIMS})), CLAIMS)
            self.assertIsNone(destrier.claims(make({})))

    def test_environ_and_scope(self):
        self.check(lambda more: {"REQUEST_METHOD": "GET", **more})
        self.check(lambda more: {"type": "http", **more})

    def test_flask(self):
        import flask

        app = flask.Flask(__name__)
        for more, wanted in (({"destrier.claims": CLAIMS}, CLAIMS), ({}, None)):
            with allowed(), app.test_request_context("/", environ_overrides=more):
                # Not a request but what stands for that of the context.
                self.assertEqual(destrier.claims(flask.request), wanted)

    def test_werkzeug(self):
        from werkzeug.test import create_environ
        from werkzeug.wrappers import Request

        self.check(lambda more: Request({**create_environ(), **more}))

    def test_starlette_and_fastapi(self):
        import fastapi
        import starlette.requests
        import starlette.websockets

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        self.check(lambda more: starlette.requests.Request({**scope, **more}))
        self.check(lambda more: fastapi.Request({**scope, **more}))
        self.check(lambda more: starlette.websockets.WebSocket({**scope, "type": "websocket", **more}, None, None))

    def test_what_is_no_request(self):
        with allowed(), self.assertRaisesRegex(TypeError, r"`builtins\.int` is no request"):
            destrier.claims(7)


class Worker(unittest.TestCase):
    def test_a_process_that_is_no_worker_is_refused(self):
        self.assertFalse(destrier.is_worker())
        with self.assertRaisesRegex(destrier.OutsideWorker, "no worker of destrier.*`destrier run`"):
            destrier.claims({"destrier.claims": CLAIMS})
        for value in ("", "0", "yes"):
            with mock.patch.dict(os.environ, {"DESTRIER_ALLOW_OUTSIDE_WORKER": value}), self.assertRaises(destrier.OutsideWorker):
                destrier.claims({})

    def test_a_module_by_the_name_of_the_extension_makes_no_worker(self):
        with mock.patch.dict(sys.modules, {"destrier_python": unittest}):
            self.assertFalse(destrier.is_worker())

    def test_the_package_imports_no_framework(self):
        program = "import sys, destrier; print([name for name in ('django', 'flask', 'starlette') if name in sys.modules])"
        said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
        self.assertEqual(said, "[]\n")


if __name__ == "__main__":
    unittest.main()
