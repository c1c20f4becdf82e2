"""A queue's URL leads to the local stack. Stock moto's `Ref` of a queue is a URL of AWS itself."""

from __future__ import annotations

from collections.abc import Callable

from moto.sqs.models import Queue

from celldock_local.mends.context import MendContext


def apply(context: MendContext) -> None:
    stock: Callable[[Queue, str], str] = Queue.get_cfn_attribute

    def url(self: Queue) -> str:
        return f"{context.client('sqs').meta.endpoint_url}/{self.account_id}/{self.name}"

    def get_cfn_attribute(self: Queue, attribute_name: str) -> str:
        return url(self) if attribute_name == "QueueUrl" else stock(self, attribute_name)

    Queue.physical_resource_id = property(url)
    Queue.get_cfn_attribute = get_cfn_attribute
