"""Peer: Flask with psycopg, one row a request, committed before the answer: how a webhook is usually stored."""

import hashlib
import hmac
import os
import threading

import psycopg
from flask import Flask, Response, request

PATH = os.environ.get("PEER_PATH", "/webhook")

app = Flask(__name__)
secret = os.environ.get("PEER_SECRET", "").encode()
thread = threading.local()


def connection() -> psycopg.Connection:
    """This thread's connection, kept open."""
    if not hasattr(thread, "connection"):
        thread.connection = psycopg.connect(os.environ["PEER_DATABASE"], autocommit=True)
    found: psycopg.Connection = thread.connection
    return found


def take() -> Response:
    """Check, store, commit, answer."""
    body = request.get_data()
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        return Response("wrong signature", 401)
    connection().execute("INSERT INTO peer_deliveries (body) VALUES (%b)", [body])
    return Response("OK", 200)


app.add_url_rule(PATH, view_func=take, methods=["POST"])
