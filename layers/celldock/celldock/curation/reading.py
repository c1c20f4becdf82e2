"""A curation config as it comes from a submitter: YAML that may be anything, read into a Curation, or refused whole."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from celldock.curation.config import Config, Curation
from celldock.curation.fields import nearest
from celldock.curation.ledger import Ledger
from celldock.schema import schema_versions

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
_MOST_FAULTS = 100
_SHOWN = 60

type Path = tuple[str, ...]

_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,40})?(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_curation(data: bytes, name: str = "curation.yaml") -> Curation:
    """Reads a config; `name` is that of its file, for messages.

    What is accepted is plain YAML: UTF-8, at most `MAX_BYTES` and `MAX_DEPTH` levels, one document, no anchors, aliases
    or tags, no key twice. Keys are always text; a value is true, false, null, a number or else a text: `yes`, `no` and
    dates are texts. Raises CurationRefused with all that is wrong, each with its line.
    """
    ledger = Ledger()
    document = _Document(ledger, name)
    raw = document.read(data)
    ledger.check()
    try:
        config = Config.model_validate({} if raw is None else raw)
    except ValidationError as error:
        _tell(ledger, Curation(Config(), name, document.lines), raw, error)
        ledger.check()
        raise
    curation = Curation(config, name, document.lines)
    _check_version(ledger, curation)
    ledger.check()
    return curation


def _check_version(ledger: Ledger, curation: Curation) -> None:
    version = curation.config.schema_version
    if version is not None and version not in schema_versions():
        ledger.problem(
            "config.schema_version",
            curation.where("schema_version"),
            f"{version[:_SHOWN]!r} is no schema version that celldock knows.",
            suggestion=f"Write one of {', '.join(schema_versions())}.",
        )


@dataclass
class _Open:
    """A mapping or list that has begun. `key` is that of the value to come, None before a key."""

    value: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None


@dataclass
class _Document:
    """Builds plain values from the events of a parser, one after another, however deep they are."""

    ledger: Ledger
    name: str
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    _stack: list[_Open] = field(default_factory=list[_Open])
    _root: Any = None

    def read(self, data: bytes) -> Any:
        """The document as dictionaries, tuples and plain values; problems go to the ledger."""
        if len(data) > MAX_BYTES:
            self._problem("config.too_large", 0, f"The config has {len(data):,} bytes; at most {MAX_BYTES:,} are read.")
            return None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._problem("config.not_utf8", line, "The config is no text in UTF-8.", "Save it in the encoding UTF-8.")
            return None
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                if not self._take(event) or len(self.ledger.findings) >= _MOST_FAULTS:
                    break
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            self._problem("config.not_yaml", line, f"The config is no YAML: {error.problem or error.context}.")
        except yaml.YAMLError as error:
            reason = getattr(error, "reason", "") or "it has characters that YAML does not allow"
            self._problem("config.not_yaml", 0, f"The config is no YAML: {reason}.")
        return self._root

    def _take(self, event: Any) -> bool:
        """Takes in the next event; False where nothing sensible can follow."""
        line = event.start_mark.line + 1
        going_on = True
        if isinstance(event, yaml.NodeEvent) and self._refuses(event, line):
            return False
        match event:
            case yaml.DocumentStartEvent():
                going_on = self._begin(event, line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent():
                going_on = self._open({}, line)
            case yaml.SequenceStartEvent():
                going_on = self._open([], line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self._stack.pop().value
                self._add(tuple(closed) if isinstance(closed, list) else closed, line)
            case _:
                pass
        return going_on

    def _refuses(self, event: Any, line: int) -> bool:
        """Whether a value has what is not plain: one that repeats another, or says of what type it is."""
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self._problem("config.alias", line, "Anchors (&name) and aliases (*name) are not read.", _QUOTE)
            return True
        if event.tag is not None:
            self._problem("config.tag", line, f"Tags ({str(event.tag)[:_SHOWN]}) are not read.", _QUOTE)
            return True
        return False

    def _begin(self, event: Any, line: int) -> bool:
        if event.version or event.tags or self._root is not None or self.lines:
            self._problem("config.documents", line, "The config is to be one document, without directives.")
            return False
        return True

    def _open(self, value: dict[str, Any] | list[Any], line: int) -> bool:
        if len(self._stack) == MAX_DEPTH:
            self._problem("config.too_deep", line, f"The config has more than {MAX_DEPTH} levels.")
            return False
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            self._problem("config.key", line, "A list or a map cannot be a key.", _QUOTE)
            return False
        if not self._stack and isinstance(value, list):
            return self._refuse_root()
        path = self._next_path(line)
        self._stack.append(_Open(value, path))
        return True

    def _scalar(self, event: Any, line: int) -> None:
        text = str(event.value)
        if "\0" in text or not _is_encodable(text):
            self._problem("config.characters", line, "A text holds a character that no file can hold.")
            text = ""
        parent = self._stack[-1] if self._stack else None
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, text, line)
            return
        self._next_path(line)
        is_bare = event.implicit[0]
        self._add(_plain(text) if is_bare else text, line)

    def _key(self, parent: _Open, text: str, line: int) -> None:
        path = (*parent.path, text)
        if path in self.lines:
            shown = f"{text[:_SHOWN]!r} stands here for the second time: the first is in line {self.lines[path]}."
            self._problem("config.repeated_key", line, shown, "Leave one of the two out.")
        self.lines.setdefault(path, line)
        parent.key = text

    def _next_path(self, line: int) -> Path:
        """The path of the value that comes."""
        if not self._stack:
            return ()
        parent = self._stack[-1]
        if isinstance(parent.value, dict):
            return (*parent.path, parent.key or "")
        path = (*parent.path, str(len(parent.value)))
        self.lines.setdefault(path, line)
        return path

    def _add(self, value: Any, line: int) -> None:
        if not self._stack:
            self._root = value
            if value is not None and not isinstance(value, dict):
                self._refuse_root()
            return
        parent = self._stack[-1]
        if isinstance(parent.value, dict):
            parent.value.setdefault(parent.key or "", value)
            parent.key = None
        else:
            parent.value.append(value)

    def _refuse_root(self) -> bool:
        self._problem("config.no_map", 1, "The config is to be a map of keys (uns, obs …) to values.")
        return False

    def _problem(self, code: str, line: int, message: str, suggestion: str = "") -> None:
        where = f"{self.name}, line {line}" if line else self.name
        self.ledger.problem(code, where, message, suggestion=suggestion)


_QUOTE = 'Write texts that begin with &, *, ! or ? in quotes: "*".'


def _plain(text: str) -> bool | int | float | str | None:
    """What a scalar without quotes stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _NOTHING:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _tell(ledger: Ledger, curation: Curation, raw: Any, error: ValidationError) -> None:
    """One problem for each place that the model refuses, whichever of its forms it was compared with."""
    told: set[Path] = set()
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        path, value = _place(raw, detail)
        if path in told or len(told) == _MOST_FAULTS:
            continue
        told.add(path)
        name = ".".join(part[:_SHOWN] for part in path) or "The config"
        message, suggestion = _words(detail, name, value)
        ledger.problem("config.invalid", curation.where(*path), message, suggestion=suggestion)


def _place(raw: Any, detail: ErrorDetails) -> tuple[Path, object]:
    """Where in the document an error is, and what stands there: the model's own names for its forms are left out."""
    path: list[str] = []
    value: Any = raw
    for step in _steps(detail):
        if isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            if step in items:
                value = items[step]
            elif step == "map" and len(items) == 1:
                # The short form of a map: its one key is the column.
                [(column, value)] = items.items()
                path.append(column)
                continue
            else:
                continue
        elif isinstance(value, tuple) and step.isdecimal() and int(step) < len(cast("tuple[Any, ...]", value)):
            value = cast("tuple[Any, ...]", value)[int(step)]
        else:
            break
        path.append(step)
    return tuple(path), cast(object, value)


def _steps(detail: ErrorDetails) -> Iterator[str]:
    return map(str, detail["loc"])


_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "": tuple(Config.model_fields),
    "genes": ("names", "unknown"),
    "matrices": ("from", "undo", "target_sum", "totals", "dtype", "rounding"),
    "obs": ("column", "map", "unmapped"),
    "var": ("column", "map", "unmapped"),
}


def _words(detail: ErrorDetails, name: str, value: object) -> tuple[str, str]:
    """What is wrong and how to mend it, in words."""
    kind, context = detail["type"], detail.get("ctx", {})
    steps = [*_steps(detail)]
    place, last = (steps[0] if len(steps) > 1 else ""), steps[-1]
    message, suggestion = f"{name} holds what is not allowed there.", ""
    if kind == "extra_forbidden":
        known = _ALLOWED.get(place, ())
        meant = nearest(last, known)
        message = f"{name} is no key that a config has there."
        suggestion = f"{meant!r} may be meant." if meant else f"There may be {', '.join(known)}."
    elif kind == "missing":
        message = f"{name} lacks {last!r}."
        suggestion = "Write {column: NAME}, {NAME: {value: term}}, or one value." if place in ("obs", "var") else ""
    elif value is None:
        message, suggestion = f"{name} has no value.", "Give it one, or leave the line out."
    elif kind == "literal_error":
        message = f"{name} must be {context.get('expected', '')}."
    elif kind == "bool_type" and name == "tidy":
        message = f"{name} must be true or false."
    elif kind == "greater_than":
        message = f"{name} must be greater than {context.get('gt', 0)}."
    elif place in ("obs", "var"):
        message = f"{name} must be a text, a number, true or false, or a list of texts."
    elif kind == "string_type":
        message, suggestion = f"{name} must be a text.", "Write it in quotes."
    elif kind in ("tuple_type", "dict_type", "model_type"):
        message = f"{name} must be {'a list' if kind == 'tuple_type' else 'a map of keys to values'}."
    return message, suggestion
