"""Generated names stay the same from one start to the next, so that kept data and copied commands still fit.

Stock moto's names end in random characters, anew on each deploy.
"""

from __future__ import annotations

import hashlib
import secrets

from moto.cloudformation import parsing

from celldock_local.mends.context import MendContext

SEED_FILE = "names.seed"


def apply(context: MendContext) -> None:
    stock = parsing.generate_resource_name
    path = context.data / SEED_FILE
    if not path.exists():
        path.write_text(secrets.token_hex(16))
    seed = path.read_text()

    def generate(resource_type: str, stack_name: str, logical_id: str) -> str:
        digest = hashlib.sha256(f"{seed}/{resource_type}/{stack_name}/{logical_id}".encode()).hexdigest()
        drawn, parsing.random_suffix = parsing.random_suffix, digest[:12].upper
        try:
            return stock(resource_type, stack_name, logical_id)
        finally:
            parsing.random_suffix = drawn

    parsing.generate_resource_name = generate
