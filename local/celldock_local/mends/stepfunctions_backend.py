"""State machines are executed, however they were created, and their definitions are parsed once.

Stock moto only pretends to run them, unless it is asked; CloudFormation creates them in the pretending backend all the
same. The executing one parses the definition at each start (0.2 s for 300 lines), each JSONPath at each use (1 ms), and
writes the whole syntax tree to the log for each error that a machine handles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from moto.core.config import default_user_config
from moto.stepfunctions import models
from moto.stepfunctions.parser.asl.component.common.path import result_path
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from celldock_local.mends.context import MendContext


def apply(_context: MendContext) -> None:
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    models.stepfunctions_backends = stepfunctions_parser_backends
    # A parsed program keeps its state in the execution's environment, so executions can share it.
    AmazonStateLanguageParser.parse = staticmethod(lru_cache(maxsize=64)(AmazonStateLanguageParser.parse))
    modules: list[Any] = [json_path, result_path]
    for module in modules:
        module.parse = lru_cache(maxsize=1024)(module.parse)
    component: Any = EvalComponent
    component._log_failure_event_exception = component._log_exception = lambda *_, **__: None
