"""What the OpenAPI document says of files and batches."""

from typing import Final

from gateway.openapi import (
    BAD,
    BODY_ENCODED,
    BODY_TOO_LARGE,
    IDEMPOTENCY,
    KEY_REUSED,
    REPLAYABLE,
    Doc,
    Responses,
    answer,
    body,
    header,
    refusal,
)

_NO_FILE: Final = refusal("There is no such file, or its time is over.")
_NO_BATCH: Final = refusal("There is no such batch.")
_UNAVAILABLE: Final = refusal("The store cannot be reached, or there is no place for blobs.")
_LINES: Final[Doc] = {"application/jsonl": {"schema": {"type": "string"}}}

WITH_FILE: Final[Doc] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "file": {"type": "string", "contentMediaType": "application/jsonl"},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                }
            }
        },
    }
}
WITH_BATCH: Final[Doc] = {"requestBody": body("BatchRequest"), "parameters": [IDEMPOTENCY]}
UPLOAD: Final[Responses] = {
    "200": answer("The file.", "File"),
    "400": BAD,
    "413": refusal("The file is larger than files may be."),
    "415": refusal("The body is no form."),
    "429": refusal("So many files are being uploaded already."),
    "503": _UNAVAILABLE,
}
LIST_FILES: Final[Responses] = {"200": answer("A page of files.", "FileList"), "400": BAD, "503": _UNAVAILABLE}
GET_FILE: Final[Responses] = {"200": answer("The file.", "File"), "404": _NO_FILE, "503": _UNAVAILABLE}
CONTENT: Final[Responses] = {
    "200": {"description": "The file's bytes.", "content": _LINES},
    "404": _NO_FILE,
    "503": _UNAVAILABLE,
}
DELETE: Final[Responses] = {
    "200": answer("It is gone.", "DeletedFile"),
    "404": _NO_FILE,
    "409": refusal("A batch that has not ended reads it."),
    "503": _UNAVAILABLE,
}
CREATE: Final[Responses] = {
    "200": answer("The batch.", "Batch", REPLAYABLE),
    "400": BAD,
    "404": refusal("There is no such file, model or version."),
    "409": refusal("So many batches of the tenant have not ended; or its deadline cannot be kept."),
    "413": BODY_TOO_LARGE,
    "415": BODY_ENCODED,
    "422": KEY_REUSED,
    "503": _UNAVAILABLE,
}
CANCEL: Final[Responses] = {"200": answer("The batch as it is now.", "Batch"), "404": _NO_BATCH, "503": _UNAVAILABLE}
LIST: Final[Responses] = {"200": answer("A page of batches.", "BatchList"), "400": BAD, "503": _UNAVAILABLE}
GET: Final[Responses] = {"200": answer("The batch.", "Batch"), "404": _NO_BATCH, "503": _UNAVAILABLE}
RESULTS: Final[Responses] = {
    "200": {
        "description": "Lines of JSONL.",
        "content": _LINES,
        "headers": {"Penstock-Next-After": header("Where the next request begins.")},
    },
    "400": BAD,
    "404": _NO_BATCH,
    "409": refusal("The results were deleted, or their time is over."),
    "503": _UNAVAILABLE,
}
