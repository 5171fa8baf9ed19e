"""Who a request is of, for applications that destrier serves.

destrier verifies the token of a request before the application is called, and hands the claims over. This package reads them:

    import destrier

    claims = destrier.claims(request)  # a dict, or None where the request has no token

For Django REST Framework there is :mod:`destrier.django`. Within a worker of destrier the package can always be imported; elsewhere, in
tests and editors, ``pip install destrier`` brings it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Dict, Optional, Protocol, Union

__all__ = ["Claims", "OutsideWorker", "Request", "claims", "is_worker", "issuer"]

Claims = Dict[str, Any]
"""The verified payload of a token, by name of claim (RFC 7519 section 4)."""

KEY = "destrier.claims"
"""Where claims stand, in an environ and in a scope. No client can write there: what it sends becomes ``HTTP_…`` or a header."""

ISSUER_KEY = "destrier.issuer"
"""Where the name of the issuer stands that signed the token."""

VARIABLE = "DESTRIER_ALLOW_OUTSIDE_WORKER"


class _WithScope(Protocol):
    @property
    def scope(self) -> Mapping[str, Any]: ...


class _WithEnviron(Protocol):
    @property
    def environ(self) -> Mapping[str, Any]: ...


class _WithMeta(Protocol):
    @property
    def META(self) -> Mapping[str, Any]: ...


Request = Union[Mapping[str, Any], _WithScope, _WithEnviron, _WithMeta]
"""A request in any of the forms that :func:`claims` knows."""


class OutsideWorker(RuntimeError):
    """The process is no worker of destrier, so nobody has verified a token and nobody can say whose a request is."""

    def __init__(self) -> None:
        super().__init__(
            "this process is no worker of destrier, so nobody has verified the token of the request: start the application with "
            f"`destrier run`; where nothing needs to be safe, as in tests, set the environment variable {VARIABLE}=1"
        )


def is_worker() -> bool:
    """Whether this process is a worker of destrier."""
    # The extension: no package has a file of that name, so nothing but the loader of a worker puts it there.
    return hasattr(sys.modules.get("destrier_python"), "serve")


def issuer(request: Request) -> Optional[str]:
    """The ``name`` of the ``[[auth.issuer]]`` that signed the token of ``request``; None where it has none.

    What a claim says is its issuer's word, and two issuers may use the same name for different users: where tokens of several are believed,
    ask this too. It says who signed, whatever the claim ``iss`` says. Raises as :func:`claims`.
    """
    found: Optional[str] = _believed(request, ISSUER_KEY)
    return found


def claims(request: Request) -> Optional[Claims]:
    """The verified claims of the token that came with ``request``; None where there came none.

    ``request`` is a WSGI environ, an ASGI scope, or a request of Flask, Werkzeug, Django, Django REST Framework, Starlette or FastAPI, or
    whatever else has its environ as ``environ`` or its scope as ``scope``. A rule with ``access = "public"`` looks at no token, so there are
    no claims either. The dict is the application's own: no other request sees what is changed in it.

    Raises OutsideWorker where the process is no worker, and TypeError where ``request`` is something else.
    """
    found: Optional[Claims] = _believed(request, KEY)
    return found


def _believed(request: Request, key: str) -> Any:
    """What stands there, where it can be believed: another process may be sent anything."""
    if not is_worker() and os.environ.get(VARIABLE) != "1":
        raise OutsideWorker
    return read(request, key)


def read(request: Request, key: str = KEY) -> Any:
    """What :func:`claims` returns, or what else stands there, in whatever process. For code that has asked :func:`is_worker` itself."""
    # Requests of Starlette are mappings too: of their scope.
    if isinstance(request, Mapping):
        return request.get(key)
    for name in ("scope", "environ", "META"):
        found = getattr(request, name, None)
        if isinstance(found, Mapping):
            return found.get(key)
    kind = type(request)
    raise TypeError(f"`{kind.__module__}.{kind.__qualname__}` is no request: it has neither `environ` nor `scope`")
