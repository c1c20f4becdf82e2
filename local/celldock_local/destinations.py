"""Sending a message to the queue or topic that an ARN names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DESTINATIONS = ("sqs", "sns")
"""Services that the local stack can send failures to."""


def send_to(client: Callable[[str], Any], arn: str, body: str) -> None:
    """Send `body` to the SQS queue or SNS topic `arn`. Raises ValueError for any other ARN."""
    service, name = arn.split(":")[2], arn.rsplit(":", 1)[-1]
    if service == "sqs":
        sqs = client("sqs")
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], MessageBody=body)
    elif service == "sns":
        client("sns").publish(TopicArn=arn, Message=body)
    else:
        raise ValueError(f"the local stack cannot send a failed event to {arn}")
