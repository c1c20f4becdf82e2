"""The picture of the workflow is the workflow."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.template.house import ROOT, Machine, states

drawing: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "draw_workflow.py"))


def test_every_page_shows_the_workflow_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert drawing["main"](["--check"]) == 0, capsys.readouterr().out


def test_a_page_that_shows_an_older_workflow_is_redrawn(definition: Machine) -> None:
    page = (ROOT / "docs" / "workflow.md").read_text()
    older = page.replace('sPlan["Plan"]', 'sPlan["Sketch"]')
    assert older != page
    assert drawing["render"](older, definition) == page


def test_every_state_is_in_the_picture_and_in_the_table(definition: Machine) -> None:
    picture, table = drawing["draw_diagram"](definition), drawing["list_states"](definition)
    for name, _ in states(definition):
        assert f'"{name}"' in picture
        assert f"{name} |" in table


def test_states_whose_names_differ_by_a_question_mark_are_told_apart(definition: Machine) -> None:
    picture = drawing["draw_diagram"](definition)
    assert "sPublish_choice -- yes --> sPublish\n" in picture
