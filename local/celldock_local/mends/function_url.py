"""A function URL is served, over plain HTTP on loopback, with the payload format 2.0. Stock moto only stores one.

The authentication that the template asks for (AWS_IAM) is AWS's part: here every caller is let in, as one local user.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from moto.awslambda.models import FunctionUrlConfig, LambdaFunction

from celldock_local.aws import ACCESS_KEY, ACCOUNT
from celldock_local.mends.context import MendContext, Throttled
from celldock_local.ports import claim_port

BODY_LIMIT = 6_291_456
_TEXT = ("text/", "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded")
_log = logging.getLogger(__name__)


def apply(context: MendContext) -> None:
    stock: Callable[[FunctionUrlConfig, LambdaFunction, dict[str, Any]], None] = FunctionUrlConfig.__init__

    def init(self: FunctionUrlConfig, function: LambdaFunction, config: dict[str, Any]) -> None:
        stock(self, function, config)
        port = claim_port(context.data, f"url/{function.function_name}")
        qualified = (
            f"{function.function_arn}:{config['Qualifier']}" if config.get("Qualifier") else function.function_arn
        )
        _serve(context, qualified, str(config.get("AuthType")), port)
        self.url = f"http://127.0.0.1:{port}/"

    FunctionUrlConfig.__init__ = init


def _serve(context: MendContext, function_arn: str, auth_type: str, port: int) -> None:
    class Handler(_Handler):
        pass

    Handler.context, Handler.function_arn, Handler.auth_type = context, function_arn, auth_type
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.2,), daemon=True, name=f"function-url-{port}").start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    context: MendContext
    function_arn: str
    auth_type: str

    def log_message(self, format: str, *args: Any) -> None:
        return None

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT or "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.close_connection = True
            self._send(413, {"Content-Type": "application/json"}, b'{"Message":"Request too large"}', [])
            return
        event = url_event(self, self.rfile.read(length), self.auth_type)
        try:
            result = self.context.runner.invoke(self.function_arn, json.dumps(event).encode())
        except Throttled:
            self._send(429, {"Content-Type": "application/json"}, b'{"Message":"Rate exceeded"}', [])
            return
        except Exception:  # noqa: BLE001 - as Lambda answers for any trouble of its own
            _log.exception("function URL of %s", self.function_arn)
            self._send(502, {"Content-Type": "application/json"}, b"Internal Server Error", [])
            return
        if result.error:
            self._send(502, {"Content-Type": "application/json"}, b"Internal Server Error", [])
        else:
            self._send(*url_answer(result.payload))

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = do_GET

    def _send(self, status: int, headers: dict[str, str], body: bytes, cookies: list[str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        for cookie in cookies:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


def url_event(request: BaseHTTPRequestHandler, body: bytes, auth_type: str) -> dict[str, Any]:
    """A request as a function URL hands it over: names and values decoded once, repeated ones joined by commas.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    parts = urlsplit(request.path)
    query: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": unquote(parts.path) or "/",
        "rawQueryString": parts.query,
        "headers": {name: value for name, value in headers.items() if name != "cookie"},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": headers.get("host", ""),
            "domainPrefix": "local",
            "http": {
                "method": request.command,
                "path": unquote(parts.path) or "/",
                "protocol": request.request_version,
                "sourceIp": request.client_address[0],
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = query
    if "cookie" in headers:
        event["cookies"] = [part.strip() for part in headers["cookie"].split(";")]
    if auth_type == "AWS_IAM":
        event["requestContext"]["authorizer"] = {"iam": _LOCAL_CALLER}
    if body:
        event["body"], event["isBase64Encoded"] = _encode(body, headers.get("content-type", ""))
    return event


_LOCAL_CALLER = {
    "accessKey": ACCESS_KEY,
    "accountId": ACCOUNT,
    "callerId": ACCOUNT,
    "cognitoIdentity": None,
    "principalOrgId": None,
    "userArn": f"arn:aws:iam::{ACCOUNT}:user/local",
    "userId": ACCOUNT,
}


def _encode(body: bytes, content_type: str) -> tuple[str, bool]:
    if not content_type or content_type.startswith(_TEXT) or "+json" in content_type:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def url_answer(payload: bytes) -> tuple[int, dict[str, str], bytes, list[str]]:
    """Status, headers, body and cookies for what a function returned; anything without a statusCode is JSON, 200."""
    answer = json.loads(payload)
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return 200, {"Content-Type": "application/json"}, payload, []
    headers = {"Content-Type": "application/json"}
    for name, value in (answer.get("headers") or {}).items():
        headers = {k: v for k, v in headers.items() if k.lower() != name.lower()} | {name: str(value)}
    text = answer.get("body") or ""
    if not isinstance(text, str):
        text = json.dumps(text)
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    return int(answer["statusCode"]), headers, body, [str(cookie) for cookie in answer.get("cookies") or []]
