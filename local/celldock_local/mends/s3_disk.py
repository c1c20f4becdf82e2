"""S3's object bytes live in files and are streamed, both ways.

Stock moto holds each request's body, each object of a GET (also of a 64 KB range of it), each copy and each completed
multipart upload in memory, and believes every checksum that it is told.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from moto.s3 import models, responses
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML, S3ClientError
from moto.s3.utils import compute_checksum as stock_compute_checksum
from moto.settings import S3_UPLOAD_PART_MIN_SIZE
from moto.utilities.utils import md5_hash

from celldock_local.mends._blobs import EMPTY, Blob, BlobStore
from celldock_local.mends._s3_upload import DEFAULT_ALGORITHM, Malformed, Upload, composite_checksum, receive
from celldock_local.mends.context import MendContext

# PUTs on an object that carry a document rather than the object's bytes.
_SUBRESOURCES = ("acl", "tagging", "retention", "legal-hold")

# Within it `FakeKey.value` is the blob itself; moto's code only measures, slices and passes it on there.
_unloaded: ContextVar[bool] = ContextVar("unloaded", default=False)

# moto looks and writes in two steps; conditional writes and versions need them to be one.
_writing = threading.RLock()


def apply(context: MendContext) -> None:
    store = BlobStore(context.data / "objects")
    _mend_keys(store)
    _mend_multipart()
    _mend_requests(store)
    _mend_responses()
    _mend_copies()
    for name in ("put_object", "copy_object", "_key_response_post", "_key_response_delete"):
        setattr(responses.S3Response, name, _alone(getattr(responses.S3Response, name)))


def _alone[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(method)
    def one_at_a_time(*args: P.args, **kwargs: P.kwargs) -> T:
        with _writing:
            return method(*args, **kwargs)

    return one_at_a_time


def _without_loading[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(method)
    def lazily(*args: P.args, **kwargs: P.kwargs) -> T:
        token = _unloaded.set(True)
        try:
            return method(*args, **kwargs)
        finally:
            _unloaded.reset(token)

    return lazily


def _mend_keys(store: BlobStore) -> None:
    key: Any = models.FakeKey
    stock_init, stock_dispose = key.__init__, key.dispose

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_init(self, *args, **kwargs)
        if self.checksum_value and not self.checksum_type:
            self.checksum_type = "FULL_OBJECT"

    def get_value(self: Any) -> Any:
        return self._blob if _unloaded.get() else bytes(self._blob)

    def set_value(self: Any, value: Blob | bytes | str) -> None:
        if not isinstance(value, Blob):
            value = store.write([value.encode() if isinstance(value, str) else value], [DEFAULT_ALGORITHM])
        self._blob, self.contentsize = value, len(value)

    def etag(self: Any) -> str:
        return f'"{self._etag or self._blob.digest("MD5").hex()}"'

    def dispose(self: Any, garbage: bool = False) -> None:
        stock_dispose(self, garbage)
        self._blob = EMPTY

    def deepcopy(self: Any, _memo: dict[int, Any]) -> Any:  # ListObjectVersions copies each key, bytes and all
        clone = object.__new__(key)
        vars(clone).update(vars(self), multipart=None)
        return clone

    key.__init__ = init
    key.value = property(get_value, set_value)
    key.etag = property(etag)
    key.dispose = dispose
    key.__deepcopy__ = deepcopy


def _mend_multipart() -> None:
    def complete(self: Any, body: Iterable[tuple[int, str]]) -> tuple[Blob, str, tuple[str, str, int]]:
        parts: list[Any] = []
        for number, etag in body:
            part = self.parts.get(number)
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise InvalidPart()
            if parts and parts[-1].contentsize < S3_UPLOAD_PART_MIN_SIZE:
                raise EntityTooSmall()
            parts.append(part)
        if not parts:
            raise MalformedXML
        algorithm = self.metadata.setdefault("x-amz-checksum-algorithm", DEFAULT_ALGORITHM)
        kind = self.metadata.get("x-amz-checksum-type") or (
            "FULL_OBJECT" if algorithm == DEFAULT_ALGORITHM else "COMPOSITE"
        )
        blob = Blob.join(part._blob for part in parts)
        if kind == "COMPOSITE":
            checksum = (kind, composite_checksum((part._blob for part in parts), algorithm), len(parts))
        else:
            checksum = (kind, blob.checksum(algorithm), 1)
        etags = md5_hash(b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)).hexdigest()
        return blob, f"{etags}-{len(parts)}", checksum

    upload: Any = models.FakeMultipart
    upload.complete = complete


def _mend_requests(store: BlobStore) -> None:
    response = responses.S3Response
    stock_setup, stock_checksum, stock_put = response.setup_class, response._get_checksum, response._key_response_put
    stock_signed = response._handle_v4_chunk_signatures

    def setup_class(self: Any, request: Any, full_url: str | None = None, headers: Any = None) -> None:
        self.upload = None
        broken: Malformed | None = None
        if _carries_object(response, request):
            try:
                self.upload = receive(request.stream, request.headers, store)
            except Malformed as error:
                broken = error
            request.stream = io.BytesIO()
        stock_setup(self, request, full_url, headers)
        if self.upload is not None:
            self.body = self.upload.blob
        self.malformed_body = broken

    def put(self: Any, query: dict[str, Any], key_name: str) -> Any:
        if self.malformed_body is not None:
            raise S3ClientError("IncompleteBody", str(self.malformed_body))
        wrong = self.upload and self.upload.mismatch()
        if wrong:
            raise S3ClientError("BadDigest", f"The {wrong} you specified did not match the calculated checksum.")
        return stock_put(self, query, key_name)

    def checksum(self: Any, response_headers: dict[str, Any]) -> tuple[str, str | None]:
        upload: Upload | None = self.upload
        if upload is None:
            return stock_checksum(self, response_headers)
        value = upload.blob.checksum(upload.algorithm)
        response_headers[f"x-amz-checksum-{upload.algorithm.lower()}"] = value
        return upload.algorithm, value

    def signed_chunks(self: Any, body: bytes, content_length: int) -> bytes:
        return stock_signed(self, body, content_length) if body else b""  # stock makes room for the whole first

    response.setup_class = setup_class
    response._key_response_put = put
    response._get_checksum = checksum
    response._handle_v4_chunk_signatures = signed_chunks


def _carries_object(response: type[responses.S3Response], request: Any) -> bool:
    if request.method != "PUT" or "x-amz-copy-source" in request.headers:
        return False
    path = request.raw_path.removeprefix("/")
    key = path if response.subdomain_based_buckets(request) else path.partition("/")[2]
    return bool(key) and not any(name in request.args for name in _SUBRESOURCES)


def _mend_responses() -> None:
    response = responses.S3Response
    stock_head = response.head_object

    def head_object(self: Any, bucket_name: str, query: Any, key_name: str, headers: Any) -> Any:
        status, response_headers, body = stock_head(self, bucket_name, query, key_name, headers)
        if status == 200 and headers.get("x-amz-checksum-mode") == "ENABLED" and "partNumber" not in query:
            key: Any = self.backend.get_object(bucket_name, key_name, query.get("versionId", [None])[0])
            response_headers["x-amz-checksum-type"] = key.checksum_type
            if key.checksum_type == "COMPOSITE":
                name = f"x-amz-checksum-{key.checksum_algorithm.lower()}"
                response_headers[name] = f"{key.checksum_value}-{key.checksum_parts}"
        return status, response_headers, body

    response.head_object = head_object
    response.get_object = _without_loading(response.get_object)


def _mend_copies() -> None:
    backend: Any = models.S3Backend
    module: Any = responses
    stock_copy = backend.copy_object

    def copy_object(self: Any, src_key: Any, dest_bucket_name: str, dest_key_name: str, **kwargs: Any) -> None:
        stock_copy(self, src_key, dest_bucket_name, dest_key_name, **kwargs)
        key = self.get_object(dest_bucket_name, dest_key_name)
        key.checksum_algorithm = src_key.checksum_algorithm or DEFAULT_ALGORITHM
        # A copy is one upload, so its checksum is that of all bytes also where the source's is COMPOSITE.
        key.checksum_value, key.checksum_type = key._blob.checksum(key.checksum_algorithm), "FULL_OBJECT"

    def compute_checksum(body: Blob | bytes, algorithm: str, encode_base64: bool = True) -> bytes:
        if isinstance(body, Blob):
            return body.checksum(algorithm).encode() if encode_base64 else body.digest(algorithm)
        return stock_compute_checksum(body, algorithm, encode_base64)

    backend.copy_object = copy_object
    module.compute_checksum = compute_checksum
    for name in ("copy_object", "upload_part_copy"):
        setattr(module.S3Response, name, _without_loading(getattr(module.S3Response, name)))
