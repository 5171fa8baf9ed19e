"""What a type checker must let pass: requests of frameworks that have types."""

from typing import Any, Dict, Optional

import destrier
import fastapi
import flask
import starlette.requests


def claims_of(environ: Dict[str, Any], request: starlette.requests.Request, other: fastapi.WebSocket) -> Optional[destrier.Claims]:
    return destrier.claims(environ) or destrier.claims(request) or destrier.claims(other) or destrier.claims(flask.request)
