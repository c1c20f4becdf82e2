"""What a function unzips to, with its layers, must fit Lambda."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.layer_sizes import LIMIT, Built, built, table

TEMPLATE = """
Globals:
  Function:
    Layers: [!Ref DomainLayer]
Resources:
  DomainLayer: {Type: "AWS::Serverless::LayerVersion", Properties: {ContentUri: DomainLayer}}
  HeavyLayer: {Type: "AWS::Serverless::LayerVersion", Properties: {ContentUri: HeavyLayer}}
  LightFunction: {Type: "AWS::Serverless::Function", Properties: {CodeUri: LightFunction}}
  HeavyFunction:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: HeavyFunction, Layers: [!Ref HeavyLayer]}
"""


@pytest.fixture
def small_build(tmp_path: Path) -> Path:
    """A build of two functions and two layers, of a few bytes each."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for name, size in {"DomainLayer": 100, "HeavyLayer": 2000, "LightFunction": 3, "HeavyFunction": 4}.items():
        (tmp_path / name / "python").mkdir(parents=True)
        (tmp_path / name / "python" / "file").write_bytes(bytes(size))
    return tmp_path


def test_every_function_fits_lambda(deployment: Built) -> None:
    over = {load.function: load.total for load in deployment.loads if load.total > LIMIT}
    assert over == {}, f"over {LIMIT:,} bytes\n{table(deployment.loads)}"


def test_every_function_carries_the_domain(deployment: Built) -> None:
    assert [load.function for load in deployment.loads if "CelldockLayer" not in load.layers] == []


def test_a_function_carries_its_own_layers_and_those_of_all(small_build: Path) -> None:
    heavy, light = built(small_build).loads
    assert (heavy.function, heavy.total) == ("HeavyFunction", 4 + 100 + 2000)
    assert (light.function, light.total) == ("LightFunction", 3 + 100)


def test_a_layer_that_is_not_built_is_an_error(small_build: Path) -> None:
    text = TEMPLATE.replace("!Ref HeavyLayer", "!Ref ForgottenLayer")
    (small_build / "template.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"HeavyFunction.*ForgottenLayer"):
        built(small_build)
