"""cellxgene-schema, kept loaded: a request a line on stdin, an answer a line on stdout, both JSON.

Runs in an environment of its own, with that package alone; see `tests.parity.peer`.
"""

# pyright: reportMissingImports=false
# What it imports is in that environment alone.

import json
import logging
import random
import sys
import warnings
from typing import Any


def main() -> None:
    """Serves until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import dask
    from cellxgene_schema.validate import Validator

    with dask.config.set(scheduler="synchronous"):
        for line in sys.stdin:
            request = json.loads(line)
            if "terms" in request:
                answer = _terms(**request["terms"])
            elif "label" in request:
                answer = _label(**request["label"])
            else:
                answer = _validate(Validator, **request)
            print(json.dumps(answer), file=answers, flush=True)


def _validate(validator_class: Any, path: str, *, pre_analysis: bool) -> dict[str, Any]:
    validator = validator_class(pre_analysis_check_flag=pre_analysis)
    try:
        valid = validator.validate_adata(path)
    except SystemExit as leaving:
        return {"valid": False, "errors": [f"left with exit code {leaving.code}"], "warnings": []}
    except Exception as error:  # noqa: BLE001 - whatever it dies of is its verdict
        return {"valid": False, "errors": [f"{type(error).__name__}: {error}"], "warnings": []}
    return {"valid": bool(valid), "errors": validator.errors, "warnings": validator.warnings}


def _label(path: str, output: str, *, pre_analysis: bool) -> dict[str, Any]:
    """Labels a copy. What it reports besides, such as that GuideScan2 is not here, leaves the other labels alone."""
    from cellxgene_schema.utils import read_h5ad
    from cellxgene_schema.write_labels import AnnDataLabelAppender

    try:
        AnnDataLabelAppender(read_h5ad(path), pre_analysis=pre_analysis).write_labels(output)
    except SystemExit as leaving:
        return {"died": f"left with exit code {leaving.code}"}
    except Exception as error:  # noqa: BLE001 - whatever it dies of is told
        return {"died": f"{type(error).__name__}: {error}"}
    return {"died": ""}


def _terms(ontology: str, count: int, seed: int) -> list[str]:
    """Some of an ontology's identifiers, obsolete ones among them."""
    from cellxgene_schema.ontology_parser import ONTOLOGY_PARSER

    terms = sorted(ONTOLOGY_PARSER.cxg_schema.ontology(ontology))
    return random.Random(seed).sample(terms, min(count, len(terms)))


if __name__ == "__main__":
    main()
