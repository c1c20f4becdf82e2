"""Keys with a line break: lawful on S3, and hostile."""

from __future__ import annotations

from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.local.mend_server import Server

KEY = "collection/a\nb.h5ad"


def _bucket(server: Server) -> str:
    name = f"keys-{uuid4().hex[:12]}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def test_stock_moto_does_not_find_such_a_key(stock: Server) -> None:
    with pytest.raises(ClientError, match="404"):
        stock.client("s3").put_object(Bucket=_bucket(stock), Key=KEY, Body=b"x")


def test_a_key_with_a_line_break_comes_back_byte_exact(mended: Server) -> None:
    s3, bucket = mended.client("s3"), _bucket(mended)
    s3.put_object(Bucket=bucket, Key=KEY, Body=b"x")
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == b"x"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [KEY]
