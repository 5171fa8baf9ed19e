"""An application that knows whose a request is, and verifies nothing itself."""

from contextlib import asynccontextmanager
from typing import Annotated, Optional

import destrier
from fastapi import Depends, FastAPI, WebSocket
from fastapi.requests import HTTPConnection


@asynccontextmanager
async def lifespan(app):
    # Here connections to databases are opened, in each worker; one that fails here does not serve.
    app.state.visitors = 42
    yield


app = FastAPI(lifespan=lifespan)


def claims(connection: HTTPConnection) -> Optional[destrier.Claims]:
    """Of requests and WebSockets."""
    return destrier.claims(connection)


Claims = Annotated[Optional[destrier.Claims], Depends(claims)]


@app.get("/")
async def hello(claims: Claims):
    """For everybody; who has a token is greeted by name."""
    return {"message": f"hello, {claims['name']}" if claims else "hello"}


@app.get("/me")
async def me(claims: Claims):
    """For everybody with a token: destrier.toml says so."""
    return {"name": claims["name"], "roles": claims["roles"]}


@app.get("/report")
def report():
    """For editors: destrier.toml says so. Not `async`, so it runs in a thread."""
    return {"visitors": app.state.visitors}


@app.websocket("/chat")
async def chat(socket: WebSocket, claims: Claims):
    """For everybody with a token. Browsers send it as a subprotocol: `new WebSocket(url, ["bearer", token])`."""
    await socket.accept(subprotocol="bearer" if "bearer" in socket.scope["subprotocols"] else None)
    await socket.send_text(f"hello, {claims['name']}")
    async for text in socket.iter_text():
        await socket.send_text(text)
