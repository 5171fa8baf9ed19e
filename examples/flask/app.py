"""An application that knows whose a request is, and verifies nothing itself."""

import destrier
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/")
def hello():
    """For everybody; who has a token is greeted by name."""
    claims = destrier.claims(request)
    return jsonify(message=f"hello, {claims['name']}" if claims else "hello")


@app.get("/me")
def me():
    """For everybody with a token: destrier.toml says so."""
    claims = destrier.claims(request)
    return jsonify(name=claims["name"], roles=claims["roles"])


@app.get("/report")
def report():
    """For editors: destrier.toml says so."""
    return jsonify(visitors=42)
