"""The door through which clients reach the catalog: status, reports, publishing, redrives, collections."""

from __future__ import annotations

import json
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response, content_types
from aws_lambda_powertools.utilities.typing import LambdaContext

from celldock.catalog.requests import read_collection_request, read_dataset_request, read_query
from celldock.cloud.clients import client
from celldock.cloud.environment import ApiEnvironment, read_environment
from celldock.cloud.service import connect, error_answer
from celldock.errors import CelldockError, ObjectGone

logger = Logger()
service = connect(read_environment(ApiEnvironment), client)
app = LambdaFunctionUrlResolver()


@app.get("/datasets")
def get_dataset() -> dict[str, Any]:
    return service.status(read_query(app.current_event.raw_query_string))


@app.get("/report")
def get_report() -> dict[str, Any]:
    return service.report(read_query(app.current_event.raw_query_string))


@app.post("/publish")
def post_publish() -> dict[str, Any]:
    return service.publish(read_dataset_request(app.current_event.decoded_body))


@app.post("/redrive")
def post_redrive() -> dict[str, Any]:
    return service.redrive(read_dataset_request(app.current_event.decoded_body))


@app.put("/collections")
def put_collection() -> dict[str, Any]:
    return service.put_collection(read_collection_request(app.current_event.decoded_body))


@app.not_found
def no_such_call(_: Exception) -> Response[str]:
    return refuse(ObjectGone("There is no such call.", code="request.route"))


@app.exception_handler(CelldockError)
def refuse(error: CelldockError) -> Response[str]:
    status, document = error_answer(error)
    if status.is_server_error:
        logger.exception("a call has failed", extra={"code": error.code})
    return Response(status, content_types.APPLICATION_JSON, json.dumps(document))


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Fed by the function URL."""
    return app.resolve(event, context)
