"""A Distributed Map's children are executions: bounded in number, stopped with the Map, and their failures count.

Stock moto counts a failed child and goes on: the Map succeeds, with null in the child's place, whatever is tolerated.
It goes on with the next items after a stop, and works items off by recursion, until a worker with some hundreds dies.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from moto.stepfunctions.parser.api import MapRunStatus
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEventException
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.distributed_iteration_component import (
    DistributedIterationComponent,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration.job import JobPool
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.program_state import ProgramEnded, ProgramStopped, ProgramTimedOut
from moto.stepfunctions.parser.asl.eval.states import ItemData, MapData

from celldock_local.mends.context import MendContext
from celldock_local.mends.stepfunctions_errors import failure
from celldock_local.mends.stepfunctions_executions import iso
from celldock_local.mends.stepfunctions_halting import POLL_SECONDS, Halted

log = logging.getLogger(__name__)

_MAX_CHILDREN = 100  # at once, where the definition sets no bound; AWS has 10,000


def apply(_context: MendContext) -> None:
    def map_run(self: Any, env: Environment, eval_input: Any) -> None:
        MapRun(self, env, eval_input).run(env.stack.pop())

    DistributedIterationComponent._map_run = map_run


class MapRun:
    """One run of a Distributed Map. The outputs of its children, in the items' order, are left on the stack."""

    def __init__(self, component: Any, env: Environment, eval_input: Any) -> None:
        self._env, self._record = env, eval_input.map_run_record
        self._program = component._get_iteration_program()
        # Only asked to apply ItemSelector to an item; the pool that it wants has nothing to do.
        self._worker = component._create_worker(env, eval_input, JobPool(self._program, []))
        self._lock = threading.Lock()
        self._outputs: dict[int, Any] = {}
        self._failed = 0
        self._over = threading.Event()

    def run(self, items: list[Any]) -> None:
        """Raises the failure of the Map, or Halted when the execution ends before it."""
        self._total = len(items)
        self._record.item_counter.total.count(len(items))
        self._record.item_counter.pending.count(len(items))
        jobs = iter(enumerate(items))
        count = min(len(items), self._record.max_concurrency or _MAX_CHILDREN)
        workers = [threading.Thread(target=self._work, args=(jobs,), daemon=True) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive() and self._env.is_running() and not self._over.is_set():
                worker.join(POLL_SECONDS)
        if not self._env.is_running():
            self._over.set()
            self._record.set_stop(MapRunStatus.ABORTED)
            raise Halted
        if self._over.is_set():
            self._stop_children()
            cause = "The specified tolerated failure threshold was exceeded"
            raise FailureEventException(failure(self._env, "States.ExceedToleratedFailureThreshold", cause))
        self._env.stack.append([self._outputs[index] for index in sorted(self._outputs)])

    def _work(self, jobs: Iterator[tuple[int, Any]]) -> None:
        while not self._over.is_set() and self._env.is_running():
            with self._lock:
                job = next(jobs, None)
            if job is None:
                return
            frame = self._env.open_inner_frame()
            try:
                self._run_child(frame, *job)
            finally:
                self._env.delete_frame(frame)

    def _run_child(self, frame: Environment, index: int, item: Any) -> None:
        counters = (self._record.item_counter, self._record.execution_counter)
        counters[0].pending.offset(-1)
        counters[1].total.count()
        for counter in counters:
            counter.running.count()
        try:
            self._prepare(frame, index, item)
            self._program.eval(frame)
        except Exception:
            log.debug("child %s of %s did not begin", index, self._record.map_run_arn, exc_info=True)
        end = frame.program_state()
        for counter in counters:
            counter.running.offset(-1)
            self._counted(counter, end).count()
        with self._lock:
            if isinstance(end, ProgramEnded):
                self._outputs[index] = frame.states.get_input()
            elif not isinstance(end, ProgramStopped):
                self._failed += 1
                if self._is_too_much():
                    self._over.set()

    @staticmethod
    def _counted(counter: Any, end: Any) -> Any:
        if isinstance(end, ProgramEnded):
            return counter.succeeded
        if isinstance(end, ProgramStopped):
            return counter.aborted
        return counter.timed_out if isinstance(end, ProgramTimedOut) else counter.failed

    def _prepare(self, frame: Environment, index: int, item: Any) -> None:
        context: Any = frame.states.context_object.context_object_data
        context["Map"] = MapData(Item=ItemData(Index=index, Value=item))
        frame.states.reset(input_value=item)
        self._worker._eval_input(env_frame=frame)
        frame.stack.clear()
        name = str(uuid.uuid4())
        parent = self._record.map_state_machine_arn.replace(":stateMachine:", ":execution:", 1)
        context["Execution"] = {
            **context["Execution"],
            "Id": f"{parent}:{name}",
            "Name": name,
            "Input": frame.states.get_input(),
            "StartTime": iso(datetime.now(UTC)),
        }

    def _is_too_much(self) -> bool:
        percent, count = self._record.tolerated_failure_percentage, self._record.tolerated_failure_count
        if not percent and not count:
            return True
        over_count = bool(count) and self._failed > count
        return over_count or (bool(percent) and 100 * self._failed / self._total > percent)

    def _stop_children(self) -> None:
        for frame in list(self._env._frames):
            frame.set_stop(stop_date=datetime.now(UTC), cause=None, error=None)
