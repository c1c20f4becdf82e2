"""Objects on S3: one pinned version as a byte source, and buckets as stores of JSON and files."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import ClientError

from celldock.canonical import canonical_json
from celldock.catalog.work import StoredFile
from celldock.cloud.faults import aws_faults, error_code
from celldock.errors import ObjectGone, ServiceFault, TransientError
from celldock.h5ad.retry import with_backoff

_MIB = 1024 * 1024
_BLOCK = 1 * _MIB
_READ_ATTEMPTS = 3
MULTIPART_BYTES = 64 * _MIB
"""Larger files are uploaded in parts of this size: a broken connection then costs one part."""
MAX_COPY_BYTES = 5 * 1024**3
"""What S3 copies in one request, and so what can be published."""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What S3 says of one object version without its bytes. `etag` is without quotes; `modified` to the second."""

    size: int
    etag: str
    object_version: str
    metadata: dict[str, str]
    modified: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """One object version in a bucket."""

    bucket: str
    key: str
    version_id: str


class S3ByteSource:
    """The bytes of one pinned object version: a new upload of the same key changes nothing here."""

    def __init__(self, client: Any, place: Place, size: int) -> None:
        self._client = client
        self._size = size
        self.place = place

    @property
    def size(self) -> int:
        """Total bytes."""
        return self._size

    @property
    def name(self) -> str:
        """The file's name without bucket and collection."""
        return self.place.key.rpartition("/")[2]

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            ValueError: the range does not lie within the object.
            ObjectGone: the version was deleted, or (`source.changed`) is of another size now.
            TransientError, Throttled: S3 did not answer in several attempts, each of which boto3 repeats itself.
        """
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"bytes {offset} to {offset + length} do not lie within {self._size} bytes")
        if length == 0:
            return b""
        # boto3 repeats a request that fails, not a body that breaks off underway.
        return with_backoff(lambda: self._read(offset, length), attempts=_READ_ATTEMPTS)

    def _read(self, offset: int, length: int) -> bytes:
        with aws_faults(self.name):
            try:
                answer = self._client.get_object(
                    Bucket=self.place.bucket,
                    Key=self.place.key,
                    **_version(self.place.version_id),
                    Range=f"bytes={offset}-{offset + length - 1}",
                )
            except ClientError as error:
                if error_code(error) == "InvalidRange":
                    raise self._changed() from error
                raise
            # The version "null" of a bucket without versions can be overwritten.
            if int(str(answer["ContentRange"]).rpartition("/")[2]) != self._size:
                raise self._changed()
            body: bytes = answer["Body"].read()
        if len(body) != length:
            raise TransientError(f"S3 sent {len(body)} of {length} bytes.", code="object.short_read", where=self.name)
        return body

    def _changed(self) -> ObjectGone:
        return ObjectGone(f"{self.name} was changed while it was read.", code="source.changed", where=self.name)


class PartUpload:
    """An object under way, which comes to be when all of its parts are there. Parts may come from several threads."""

    def __init__(self, client: Any, upload: dict[str, str]) -> None:
        self._client = client
        self._upload = upload
        self._parts: dict[int, dict[str, Any]] = {}
        self.made: dict[str, Any] = {}

    @property
    def object_version(self) -> str:
        """The version of the object that was made; "" before that, and in a bucket without versions."""
        return str(self.made.get("VersionId", ""))

    def put(self, number: int, content: bytes) -> None:
        """Part `number`, from 1 on, from these bytes; S3 checks their SHA-256 on arrival."""
        digest = b64encode(hashlib.sha256(content).digest()).decode()
        with aws_faults(self._upload["Key"]):
            answer = self._client.upload_part(
                **self._upload, PartNumber=number, Body=content, ChecksumAlgorithm="SHA256", ChecksumSHA256=digest
            )
        self._keep(number, answer)

    def copy(self, number: int, source: Place, start: int, stop: int) -> None:
        """Part `number` from bytes [start, stop) of another object: they do not come through here.

        Raises:
            ObjectGone: the source's version was deleted.
        """
        with aws_faults(source.key):
            answer = self._client.upload_part_copy(
                **self._upload,
                PartNumber=number,
                CopySource={"Bucket": source.bucket, "Key": source.key, **_version(source.version_id)},
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )
        self._keep(number, answer["CopyPartResult"])

    def complete(self) -> None:
        """Makes the object of the parts, in the order of their numbers."""
        parts = [self._parts[number] for number in sorted(self._parts)]
        with aws_faults(self._upload["Key"]):
            self.made = self._client.complete_multipart_upload(**self._upload, MultipartUpload={"Parts": parts})

    def _keep(self, number: int, answer: dict[str, Any]) -> None:
        # S3 wants at the end the checksums that it gave for the parts.
        checksum = {"ChecksumSHA256": answer["ChecksumSHA256"]} if "ChecksumSHA256" in answer else {}
        self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], **checksum}


class ObjectStore:
    """One bucket."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def source(self, key: str, version_id: str, size: int) -> S3ByteSource:
        """The bytes of one object version of `size` bytes."""
        return S3ByteSource(self._client, Place(self.bucket, key, version_id), size)

    def head(self, key: str, object_version: str = "") -> ObjectHead:
        """Size, etag, version and metadata of an object, of the newest version unless one is named.

        Raises:
            ObjectGone: there is none.
        """
        with aws_faults(key):
            answer = self._client.head_object(Bucket=self.bucket, Key=key, **_version(object_version))
        return ObjectHead(
            size=int(answer["ContentLength"]),
            etag=str(answer["ETag"]).strip('"'),
            object_version=str(answer.get("VersionId", "")),
            metadata=dict(answer.get("Metadata", {})),
            modified=answer["LastModified"],
        )

    def find(self, key: str, object_version: str = "") -> ObjectHead | None:
        """As `head`, or None where there is none."""
        try:
            return self.head(key, object_version)
        except ObjectGone:
            return None

    def get_bytes(self, key: str, object_version: str = "") -> bytes:
        """All bytes at `key`: for celldock's own documents, which are small.

        Raises:
            ObjectGone: there is nothing.
        """
        with aws_faults(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **_version(object_version))
            content: bytes = answer["Body"].read()
        return content

    def get_json(self, key: str, object_version: str = "") -> Any:
        """The JSON document at `key`.

        Raises:
            ObjectGone: there is none.
            ServiceFault: it is no JSON; only celldock writes here, so that is our fault.
        """
        try:
            return json.loads(self.get_bytes(key, object_version))
        except ValueError as error:
            raise ServiceFault("A document of celldock's own is no JSON.", code="object.json", where=key) from error

    def put_json(self, key: str, document: Any) -> StoredFile:
        """Stores `document` as canonical JSON."""
        return self.put_bytes(key, canonical_json(document), "application/json")

    def put_bytes(self, key: str, content: bytes, content_type: str) -> StoredFile:
        """Stores `content`; S3 checks its SHA-256 on arrival."""
        digest = hashlib.sha256(content)
        with aws_faults(key):
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=content,
                ContentType=content_type,
                ChecksumSHA256=b64encode(digest.digest()).decode(),
            )
        return _stored(key, len(content), digest.hexdigest(), answer)

    def put_file(self, key: str, local: Path) -> StoredFile:
        """Stores a local file, in parts where it is big, in memory of one part."""
        size = local.stat().st_size
        with local.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256")
        with aws_faults(key), local.open("rb") as file:
            if size <= MULTIPART_BYTES:
                answer = self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=file, ChecksumSHA256=b64encode(sha256.digest()).decode()
                )
            else:
                answer = self._put_parts(key, file)
        return _stored(key, size, sha256.hexdigest(), answer)

    def _put_parts(self, key: str, file: BinaryIO) -> dict[str, Any]:
        with self.parts(key) as upload:
            blocks = iter(lambda: file.read(MULTIPART_BYTES), b"")
            for number, block in enumerate(blocks, 1):
                upload.put(number, block)
        return upload.made

    @contextmanager
    def parts(self, key: str) -> Generator[PartUpload]:
        """An object that is put together of parts; given up if anything fails."""
        place = {"Bucket": self.bucket, "Key": key}
        with aws_faults(key):
            started = self._client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")
        upload = {**place, "UploadId": str(started["UploadId"])}
        try:
            under_way = PartUpload(self._client, upload)
            yield under_way
            under_way.complete()
        except BaseException:
            self._client.abort_multipart_upload(**upload)
            raise

    def copy_from(self, source: ObjectStore, stored: StoredFile, key: str, content_type: str) -> StoredFile:
        """Copies one pinned file of another (or this) bucket to `key`, and checks that its bytes are the recorded ones.

        A copy that is there already, with the recorded bytes, is left alone: an interrupted round of copies goes on
        where it stopped.

        Raises:
            ServiceFault: the bytes are not those that were recorded.
        """
        there = self._checksum_head(key)
        if there is not None and _hex(there.get("ChecksumSHA256", "")) == stored.sha256:
            return _moved(stored, key, there)
        if stored.bytes > MAX_COPY_BYTES:
            raise ServiceFault(
                "A file over 5 GB cannot be copied in one request.", code="object.too_large", where=stored.path
            )
        with aws_faults(stored.path):
            answer = self._client.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource={"Bucket": source.bucket, "Key": stored.key, **_version(stored.object_version)},
                MetadataDirective="REPLACE",
                ContentType=content_type,
                ChecksumAlgorithm="SHA256",
            )
        if _hex(answer["CopyObjectResult"].get("ChecksumSHA256", "")) != stored.sha256:
            raise ServiceFault(
                "A copied file does not have the bytes that were recorded.", code="object.checksum", where=stored.path
            )
        return _moved(stored, key, answer)

    def seal(self, key: str, object_version: str, content_type: str) -> StoredFile:
        """A file that was put together of parts, with the SHA-256 of all of it, up to `MAX_COPY_BYTES`.

        S3 reckons one of a whole object when it copies it, so this one is copied onto itself.

        Raises:
            ServiceFault: S3 gave no such checksum.
        """
        with aws_faults(key):
            answer = self._client.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource={"Bucket": self.bucket, "Key": key, **_version(object_version)},
                MetadataDirective="REPLACE",
                ContentType=content_type,
                ChecksumAlgorithm="SHA256",
            )
        sha256 = _hex(answer["CopyObjectResult"].get("ChecksumSHA256", ""))
        if not sha256:
            raise ServiceFault("S3 gave no checksum of the whole object.", code="object.checksum", where=key)
        return _stored(key, self.head(key, str(answer.get("VersionId", ""))).size, sha256, answer)

    def _checksum_head(self, key: str) -> dict[str, Any] | None:
        """What S3 says of an object, with the checksum that it keeps itself; None where there is no object."""
        try:
            with aws_faults(key):
                return self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ObjectGone:
            return None

    def presigned_get(self, key: str, seconds: int) -> str:
        """A URL that reads `key` for a while without credentials."""
        with aws_faults(key):
            return str(
                self._client.generate_presigned_url(
                    "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
                )
            )


def _version(object_version: str) -> dict[str, str]:
    return {"VersionId": object_version} if object_version else {}


def _moved(stored: StoredFile, key: str, answer: dict[str, Any]) -> StoredFile:
    return stored.model_copy(update={"key": key, "object_version": str(answer.get("VersionId", ""))})


def _hex(checksum: str) -> str:
    # A composite checksum of parts ends in "-<parts>": it is no hash of the bytes.
    return "" if "-" in checksum else b64decode(checksum).hex()


def _stored(key: str, size: int, sha256: str, answer: dict[str, Any]) -> StoredFile:
    return StoredFile(
        path=key.rpartition("/")[2],
        bytes=size,
        sha256=sha256,
        key=key,
        object_version=str(answer.get("VersionId", "")),
    )
