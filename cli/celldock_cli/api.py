"""The client of celldock's API: JSON over HTTP, signed with SigV4 on AWS, plain on the local stack."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session

from celldock_cli.outcome import CommandFailed, Exit
from celldock_cli.profiles import Target

TIMEOUT_SECONDS = 30
NOT_FOUND = 404


class ApiError(CommandFailed):
    """The API refused: `status` is HTTP's, `code` is celldock's."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message, Exit.USAGE if status < 500 else Exit.OUR_FAULT, hint)
        self.status = status
        self.code = code


class Api:
    """The API of one target. Dataset ids are `<collection>/<name>`; every answer is the parsed JSON document."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session = URLLib3Session(timeout=TIMEOUT_SECONDS)

    def dataset(self, dataset: str, version: str | None = None) -> dict[str, Any]:
        """`{"dataset", "version", "artifacts"}`; without `version` the latest one."""
        return self._call("GET", "datasets", query={"id": dataset, "version": version})

    def report(self, dataset: str, version: str | None = None) -> dict[str, Any]:
        """`{"url", "report"}` of a version that has been validated."""
        return self._call("GET", "report", query={"id": dataset, "version": version})

    def publish(self, dataset: str, version: str | None = None) -> dict[str, Any]:
        """Makes a READY version public."""
        return self._call("POST", "publish", body={"id": dataset, "version": version})

    def redrive(self, dataset: str, version: str | None = None) -> dict[str, Any]:
        """Starts the next run of a FAILED version."""
        return self._call("POST", "redrive", body={"id": dataset, "version": version})

    def put_collection(self, collection: str, **settings: Any) -> dict[str, Any]:
        """Creates or changes a collection."""
        return self._call("PUT", "collections", body={"collection": collection, **settings})

    def _call(
        self, method: str, path: str, *, query: dict[str, str | None] | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        url = f"{self._target.api.rstrip('/')}/{path}"
        if query:
            url += "?" + urlencode({k: v for k, v in query.items() if v is not None})
        payload = json.dumps({k: v for k, v in body.items() if v is not None}) if body is not None else None
        request = AWSRequest(method, url, headers={"content-type": "application/json"}, data=payload)
        if self._target.endpoint is None:
            self._sign(request)
        try:
            response = self._session.send(request.prepare())
        except HTTPClientError as error:
            raise CommandFailed(f"celldock's API at {self._target.api} does not answer: {error}") from error
        return self._parse(response.status_code, response.content)

    def _sign(self, request: AWSRequest) -> None:
        credentials = self._target.session.get_credentials()
        if credentials is None:
            raise CommandFailed("there are no AWS credentials", Exit.USAGE, "log in as for the AWS CLI")
        SigV4Auth(credentials.get_frozen_credentials(), "lambda", self._target.region).add_auth(request)

    @staticmethod
    def _parse(status: int, content: bytes) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise CommandFailed(f"celldock's API answered {status} with something that is no JSON object")
        if "error" in document:
            error = document["error"]
            raise ApiError(status, error.get("code", ""), error.get("message", "refused"), error.get("hint", ""))
        if status >= 400:
            raise ApiError(status, "", document.get("Message") or document.get("message") or f"HTTP {status}", "")
        return document
