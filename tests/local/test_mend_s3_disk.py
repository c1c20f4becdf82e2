"""Objects of any size come and go through files: right bytes, right checksums, bounded memory."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import time
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from awscrt import checksums
from boto3.s3.transfer import TransferConfig
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.local.mend_server import REGION, Server, serving

MiB = 1 << 20
PART = random.Random(1).randbytes(5 * MiB)
TAIL = random.Random(2).randbytes(1234)


@pytest.fixture(scope="module")
def stock() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def mended() -> Iterator[Server]:
    with serving("s3_disk") as server:
        yield server


@pytest.fixture
def s3(mended: Server) -> Any:
    return mended.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"b-{uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def upload_parts(s3: Any, bucket: str, key: str, parts: list[bytes], **how: Any) -> dict[str, Any]:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **how)["UploadId"]
    algorithm = {"ChecksumAlgorithm": how["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in how else {}
    done = [
        {"PartNumber": number, "ETag": s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part, **algorithm)["ETag"]}
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done})


def send_raw(server: Server, path: str, body: bytes, headers: dict[str, str]) -> dict[str, str]:
    """A signed PUT whose body goes over the wire as it is."""
    request: Any = AWSRequest("PUT", f"{server.endpoint}{path}", headers={**headers}, data=b"")
    SigV4Auth(Credentials("test", "test"), "s3", REGION).add_auth(request)
    sent = {name: value for name, value in request.headers.items() if name.lower() != "content-length"} | headers
    plain = urllib.request.Request(request.url, body, sent, method="PUT")
    with urllib.request.urlopen(plain, timeout=20) as answer:
        return dict(answer.headers)


def error_of(error: ClientError) -> tuple[int, str]:
    response: Any = error.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


# What stock moto does


def range_seconds(server: Server, size: int) -> float:
    s3 = server.client("s3")
    s3.create_bucket(Bucket="ranged")
    s3.put_object(Bucket="ranged", Key="big", Body=bytes(size))

    def once() -> float:
        begun = time.perf_counter()
        s3.get_object(Bucket="ranged", Key="big", Range="bytes=1000-66535")["Body"].read()
        return time.perf_counter() - begun

    once()
    return min(once() for _ in range(5))


def test_stock_moto_reads_the_whole_object_for_a_range_of_it(stock: Server, mended: Server) -> None:
    assert range_seconds(stock, 96 * MiB) > 5 * range_seconds(mended, 96 * MiB)


def test_stock_moto_believes_a_wrong_checksum(stock: Server) -> None:
    s3 = stock.client("s3")
    s3.create_bucket(Bucket="checked")
    s3.put_object(Bucket="checked", Key="k", Body=b"x", ChecksumSHA256=base64.b64encode(bytes(32)).decode())


def test_stock_moto_loses_the_kind_of_a_multipart_checksum_on_head(stock: Server) -> None:
    s3 = stock.client("s3")
    s3.create_bucket(Bucket="parts")
    upload_parts(s3, "parts", "k", [PART, TAIL], ChecksumAlgorithm="SHA256")
    assert "ChecksumType" not in s3.head_object(Bucket="parts", Key="k", ChecksumMode="ENABLED")


# Bytes


def test_an_object_and_its_ranges_come_back_as_they_went_in(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=PART)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == PART
    for given, expected in (
        ("bytes=0-0", PART[:1]),
        ("bytes=70000-140000", PART[70000:140001]),
        ("bytes=-9", PART[-9:]),
        (f"bytes={len(PART) - 3}-", PART[-3:]),
        (f"bytes=5-{len(PART) * 2}", PART[5:]),
    ):
        answer = s3.get_object(Bucket=bucket, Key="k", Range=given)
        assert answer["Body"].read() == expected
        assert answer["ContentRange"].endswith(f"/{len(PART)}")


def test_an_empty_object_is_one(s3: Any, bucket: str) -> None:
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"")["ETag"] == f'"{hashlib.md5(b"").hexdigest()}"'
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b""


def test_a_range_behind_the_end_is_refused(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=3-9")
    assert error_of(refused.value) == (416, "InvalidRange")


def test_parts_are_joined_in_the_order_of_their_numbers(s3: Any, bucket: str) -> None:
    answer = upload_parts(s3, bucket, "k", [PART, PART[::-1], TAIL])
    whole = PART + PART[::-1] + TAIL
    digests = b"".join(hashlib.md5(part).digest() for part in (PART, PART[::-1], TAIL))
    assert answer["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == whole
    across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={len(PART) - 5}-{len(PART) + 4}")
    assert across["Body"].read() == whole[len(PART) - 5 : len(PART) + 5]


def test_a_small_part_that_is_not_the_last_is_refused(s3: Any, bucket: str) -> None:
    with pytest.raises(ClientError, match="EntityTooSmall"):
        upload_parts(s3, bucket, "k", [TAIL, PART])


def test_copies_carry_the_bytes_and_outlive_their_source(s3: Any, bucket: str) -> None:
    upload_parts(s3, bucket, "source", [PART, TAIL])
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="cut")["UploadId"]
    part = s3.upload_part_copy(
        Bucket=bucket, Key="cut", UploadId=upload, PartNumber=1, CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange=f"bytes=10-{len(PART) + 9}")  # fmt: skip
    s3.complete_multipart_upload(
        Bucket=bucket, Key="cut", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})  # fmt: skip
    s3.delete_object(Bucket=bucket, Key="source")
    whole = PART + TAIL
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(whole).hexdigest()}"'
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == whole
    assert s3.get_object(Bucket=bucket, Key="cut")["Body"].read() == whole[10 : len(PART) + 10]


def test_each_version_keeps_its_bytes_and_a_deleted_one_frees_them(mended: Server, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    before = {path.name for path in (mended.data / "objects").iterdir()}
    versions = [s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"one", b"two")]
    listed = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert {(version["VersionId"], version["Size"]) for version in listed} == {(name, 3) for name in versions}
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=versions[0])["Body"].read() == b"one"
    for version in versions:
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    assert {path.name for path in (mended.data / "objects").iterdir()} <= before


# Checksums


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("SHA256", hashlib.sha256(TAIL).digest()),
        ("CRC32", zlib.crc32(TAIL).to_bytes(4, "big")),
        ("CRC64NVME", checksums.crc64nvme(TAIL).to_bytes(8, "big")),
    ],
)
def test_an_object_has_the_checksum_that_was_asked_for(s3: Any, bucket: str, algorithm: str, expected: bytes) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=TAIL, ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    name = f"Checksum{algorithm}"
    assert put[name] == head[name] == base64.b64encode(expected).decode()
    assert head["ChecksumType"] == "FULL_OBJECT"


def test_a_multipart_sha256_is_that_of_the_parts_digests(s3: Any, bucket: str) -> None:
    upload_parts(s3, bucket, "k", [PART, TAIL], ChecksumAlgorithm="SHA256")
    of_parts = hashlib.sha256(hashlib.sha256(PART).digest() + hashlib.sha256(TAIL).digest()).digest()
    expected = f"{base64.b64encode(of_parts).decode()}-2"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumSHA256"], head["ChecksumType"]) == (expected, "COMPOSITE")
    assert (got["ChecksumSHA256"], got["ChecksumType"]) == (expected, "COMPOSITE")


@pytest.mark.parametrize(
    ("how", "algorithm", "expected"),
    [
        ({}, "CRC64NVME", checksums.crc64nvme(PART + TAIL).to_bytes(8, "big")),
        ({"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}, "CRC32",
         zlib.crc32(PART + TAIL).to_bytes(4, "big")),
    ],
)  # fmt: skip
def test_a_full_object_checksum_covers_all_parts(
    s3: Any, bucket: str, how: dict[str, str], algorithm: str, expected: bytes
) -> None:
    upload_parts(s3, bucket, "k", [PART, TAIL], **how)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == base64.b64encode(expected).decode()
    assert head["ChecksumType"] == "FULL_OBJECT"


def test_a_copy_of_a_multipart_object_has_the_checksum_of_its_bytes(s3: Any, bucket: str) -> None:
    upload_parts(s3, bucket, "source", [PART, TAIL], ChecksumAlgorithm="SHA256")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    head = s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(PART + TAIL).digest()).decode()


@pytest.mark.parametrize(
    "claim",
    [{"ChecksumSHA256": base64.b64encode(bytes(32)).decode()}, {"ContentMD5": base64.b64encode(bytes(16)).decode()}],
)
def test_bytes_that_are_not_what_their_sender_says_are_refused(s3: Any, bucket: str, claim: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", **claim)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("signed", [False, True])
def test_a_chunked_body_with_a_trailing_checksum_is_unwrapped(
    mended: Server, s3: Any, bucket: str, signed: bool
) -> None:
    crc = base64.b64encode(zlib.crc32(PART).to_bytes(4, "big")).decode()
    mark = f";chunk-signature={'0' * 64}" if signed else ""
    chunks = [PART[begin : begin + 70_000] for begin in range(0, len(PART), 70_000)]
    body = b"".join(f"{len(chunk):x}{mark}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    body += f"0{mark}\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    headers = {
        "x-amz-content-sha256": kind, "x-amz-decoded-content-length": str(len(PART)), "content-encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm": "CRC32",
        "content-type": "binary/octet-stream",
    }  # fmt: skip
    send_raw(mended, f"/{bucket}/k", body, headers)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == PART
    assert got["ChecksumCRC32"] == crc
    assert "ContentEncoding" not in got


# Conditions


def test_only_one_of_many_writers_creates_an_object(mended: Server, bucket: str) -> None:
    def create(number: int) -> int:
        try:
            answer = mended.client("s3").put_object(Bucket=bucket, Key="k", Body=bytes([number]), IfNoneMatch="*")
        except ClientError as refused:
            return error_of(refused)[0]
        return answer["ResponseMetadata"]["HTTPStatusCode"]

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(16))) == [200, *[412] * 15]


def test_reads_are_conditional(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"abc")["ETag"]
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag, Range="bytes=1-1")["Body"].read() == b"b"
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="k", IfMatch='"0"')
    assert error_of(refused.value) == (412, "PreconditionFailed")


# Memory


class Zeros(io.RawIOBase):
    """A readable, seekable file of zeros."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        data, self._at = bytes(end - self._at), end
        return data


@pytest.mark.parametrize("multipart", [True, False], ids=["multipart", "single put"])
def test_a_large_object_never_sits_in_the_servers_memory(mended: Server, s3: Any, bucket: str, multipart: bool) -> None:
    size = 192 * MiB
    before = mended.peak_rss()
    threshold = 8 * MiB if multipart else size + 1
    s3.upload_fileobj(Zeros(size), bucket, "big", Config=TransferConfig(multipart_threshold=threshold))
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "big"})
    s3.delete_object(Bucket=bucket, Key="big")
    assert sum(len(chunk) for chunk in s3.get_object(Bucket=bucket, Key="copy")["Body"].iter_chunks(MiB)) == size
    s3.delete_object(Bucket=bucket, Key="copy")
    assert mended.peak_rss() - before < 64 * MiB
