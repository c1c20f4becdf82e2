"""An execution that is stopped, timed out or failed enters no further state, and its first end is its only one.

Stock moto hears a stop when the current task is done, be that a function of 15 minutes or the wait for a retry, and
lets whatever goes wrong after the end replace it.
"""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

from moto.stepfunctions.parser.asl.component.common.retry.max_attempts_decl import MaxAttemptsOutcome
from moto.stepfunctions.parser.asl.component.common.retry.retrier_decl import RetrierDecl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_outcome import RetrierOutcome
from moto.stepfunctions.parser.asl.component.common.timeouts.timeout import EvalTimeoutError
from moto.stepfunctions.parser.asl.component.program.program import Program
from moto.stepfunctions.parser.asl.component.state.exec.execute_state import ExecutionState
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.program_state import ProgramRunning

from celldock_local.mends.context import MendContext

POLL_SECONDS = 0.05


class Halted(BaseException):
    """The execution ended while a state was at work. Not an Exception: no Retry or Catch may see it."""


def apply(_context: MendContext) -> None:
    _keep_the_first_end()
    _leave_the_program_when_halted()
    ExecutionState._evaluate_with_timeout = _evaluate_with_timeout
    RetrierDecl._eval_body = _retry
    WaitFunction._wait_interval = _wait_interval


def wait(env: Environment, seconds: float) -> None:
    """Sleep. Raises Halted as soon as the execution ends."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not env.is_running():
            raise Halted
        time.sleep(min(POLL_SECONDS, left))


def _wait_interval(self: WaitFunction, env: Environment, wait_seconds: int) -> None:
    wait(env, wait_seconds)


def _keep_the_first_end() -> None:
    def only_while_running(name: str) -> None:
        stock = getattr(Environment, name)

        def end(self: Environment, *args: Any, **kwargs: Any) -> None:
            with self._state_mutex:
                if isinstance(self._program_state, ProgramRunning):
                    stock(self, *args, **kwargs)

        setattr(Environment, name, end)

    only_while_running("set_error")
    only_while_running("set_timed_out")


def _leave_the_program_when_halted() -> None:
    stock = Program._eval_body

    def eval_body(self: Program, env: Environment) -> None:
        try:
            stock(self, env)
        except Halted:
            stock(self, env)  # no longer running, so all that is left is to write the end into the history

    Program._eval_body = eval_body


def _evaluate_with_timeout(self: ExecutionState, env: Environment) -> None:
    """Evaluate the state in a thread of its own; whoever waits for it goes on at the timeout or when it is halted.

    The thread is left to itself then: a function that runs, runs on, and nobody hears its answer.
    """
    self.timeout.eval(env=env)
    deadline = time.monotonic() + env.stack.pop()
    frame = env.open_frame()
    frame.states.reset(input_value=env.states.get_input())
    frame.stack = copy.deepcopy(env.stack)
    outcomes: list[Any] = []
    errors: list[Exception] = []
    done = threading.Event()

    def execute() -> None:
        try:
            self._eval_execution(frame)
            outcomes.extend(frame.stack)
        except Exception as error:  # noqa: BLE001 - raised again by the one who waits
            errors.append(error)
        except Halted:
            pass  # its waiter is halted too
        finally:
            done.set()

    threading.Thread(target=execute, daemon=True).start()
    while not done.wait(min(POLL_SECONDS, max(0, deadline - time.monotonic()))):
        if not env.is_running() or time.monotonic() >= deadline:
            break
    in_time = done.is_set()
    frame.set_ended()
    env.close_frame(frame)
    if not env.is_running():
        raise Halted
    if errors:
        raise errors[-1]
    if not in_time:
        raise EvalTimeoutError
    _take_result(self, env, outcomes.pop())


def _take_result(state: ExecutionState, env: Environment, output: Any) -> None:
    env.stack.append(output)
    if not state._is_language_query_jsonpath():
        env.states.set_result(output)
    for part in (state.assign_decl, state.result_selector):
        if part:
            part.eval(env=env)
    if state.result_path:
        state.result_path.eval(env)
    else:
        env.states.reset(input_value=env.stack.pop())


def _retry(self: RetrierDecl, env: Environment) -> None:
    self.error_equals.eval(env)
    if not env.stack.pop():
        env.stack.append(RetrierOutcome.Skipped)
        return
    self.max_attempts.eval(env=env)
    if env.stack.pop() == MaxAttemptsOutcome.EXHAUSTED:
        env.stack.append(RetrierOutcome.Failed)
        return
    for part in (self.interval_seconds, self.backoff_rate, self.max_delay_seconds, self.jitter_strategy):
        part.eval(env=env)
    wait(env, env.stack.pop())
    env.stack.append(RetrierOutcome.Executed)
