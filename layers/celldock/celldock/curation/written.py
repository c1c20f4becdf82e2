"""Texts of a file as YAML holds them, whatever is in them."""

from __future__ import annotations

_LONGEST_COMMENT = 300
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quoted(text: str) -> str:
    """A text between double quotes, on one line, which every YAML parser reads as that text."""
    return f'"{"".join(map(_escaped, text))}"'


def commented(text: str) -> str:
    """A text for a comment: on one line, without what a terminal would take for more than letters."""
    plain = "".join(character if character.isprintable() else " " for character in text[: _LONGEST_COMMENT + 1])
    return plain if len(plain) <= _LONGEST_COMMENT else f"{plain[:_LONGEST_COMMENT]}…"


def _escaped(character: str) -> str:
    if character in _ESCAPED:
        return _ESCAPED[character]
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
