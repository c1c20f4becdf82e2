"""A queue's messages are received and deleted under one lock.

Stock moto rebuilds the list of messages on each delete without one: a message that is sent meanwhile is lost, and two
receivers at once can both get the same message. And it counts the whole queue for each message that it hands out, to
know how long the queue keeps messages: a few thousand that nobody fetches slow down the whole stack.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from moto.sqs.models import Message, Queue, SQSBackend

from celldock_local.mends.context import MendContext


def apply(context: MendContext) -> None:
    stock_init: Callable[..., None] = Queue.__init__
    stock_add: Callable[[Queue, Message], None] = Queue.add_message
    stock_delete: Callable[[Queue, str], None] = Queue.delete_message

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.celldock_lock = threading.RLock()
        stock_init(self, *args, **kwargs)

    def add_message(self: Any, message: Message) -> None:
        with self.celldock_lock:
            stock_add(self, message)

    def delete_message(self: Any, receipt_handle: str) -> None:
        with self.celldock_lock:
            stock_delete(self, receipt_handle)

    Queue.__init__ = init
    Queue.add_message = add_message
    Queue.delete_message = delete_message
    _mend_backend(context)


def _mend_backend(context: MendContext) -> None:
    stock_receive: Callable[..., list[Message]] = SQSBackend.receive_message
    stock_change: Callable[[SQSBackend, str, str, int], None] = SQSBackend.change_message_visibility

    def receive_message(
        self: SQSBackend, queue_name: str, count: int, wait_seconds_timeout: int, *args: Any, **kwargs: Any
    ) -> list[Message]:
        queue: Any = self.get_queue(queue_name)
        deadline = monotonic() + (wait_seconds_timeout or 0)
        while True:
            with queue.celldock_lock:
                found = stock_receive(self, queue_name, count, 0, *args, **kwargs)
            if found or monotonic() >= deadline or context.stop.is_set():
                return found
            # A message that becomes visible again notifies nobody: look at least twice a second.
            queue.wait_for_messages(min(0.5, max(0.01, deadline - monotonic())))

    def change_visibility(self: SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int) -> None:
        queue: Any = self.get_queue(queue_name)
        with queue.celldock_lock:
            stock_change(self, queue_name, receipt_handle, visibility_timeout)

    def is_kept(self: SQSBackend, queue_name: str, message: Message) -> bool:
        kept_s: int = self.get_queue(queue_name).message_retention_period
        return kept_s + (message.sent_timestamp or 0) / 1000 > time()

    SQSBackend.receive_message = receive_message
    SQSBackend.is_message_valid_based_on_retention_period = is_kept
    SQSBackend.change_message_visibility = change_visibility
