"""Zip archives of strangers: bounded in size, with plain names, read entry by entry."""

import io
import re
import zipfile
from collections.abc import Mapping

from fracjax import safe_files
from fracjax.rl.policies import PolicyFileError

__all__ = ["MOST_BYTES", "is_archive", "read_entries", "read_entry"]

MOST_BYTES = safe_files.MOST_BYTES
_MOST_ENTRIES = 100_000

Entries = Mapping[str, zipfile.ZipInfo]


def is_archive(content: bytes) -> bool:
    """Whether the file begins as zip archives do."""
    return content.startswith(b"PK\x03\x04")


def read_entries(content: bytes) -> tuple[zipfile.ZipFile, Entries]:
    """Open an archive and check its directory before any entry is read.

    Raises:
        PolicyFileError: If it is no archive, names repeat or lead out of it, or its contents
            are larger than `MOST_BYTES` together.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception as error:  # damage shows in many ways inside `zipfile`
        msg = "is a damaged or truncated zip archive"
        raise PolicyFileError(msg) from error
    listed = archive.infolist()
    entries = {entry.filename: entry for entry in listed}
    # One changed byte can hide entries from `zipfile`; the archive's own count tells.
    end = content.rfind(b"PK\x05\x06")
    counted = int.from_bytes(content[end + 10 : end + 12], "little")
    if len(entries) != len(listed) or counted not in (len(listed), 0xFFFF):
        msg = "is a damaged zip archive: its entries are not what it counts"
        raise PolicyFileError(msg)
    for name in entries:
        if re.search(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^\w:|\0", name):
            msg = f"is a zip archive with an entry that leads out of it (`{name[:50]}`)"
            raise PolicyFileError(msg)
    if len(listed) > _MOST_ENTRIES or sum(entry.file_size for entry in listed) > MOST_BYTES:
        msg = f"is a zip archive of more than {MOST_BYTES >> 20} MiB, too large for a policy"
        raise PolicyFileError(msg)
    return archive, entries


def read_entry(archive: zipfile.ZipFile, entries: Entries, name: str) -> bytes:
    """Read one entry; its checksum is compared, and its size is what the directory says."""
    if name not in entries:
        msg = f"has no entry `{name}`"
        raise PolicyFileError(msg)
    try:
        content = archive.read(entries[name])
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        msg = f"is a damaged zip archive: `{name}` cannot be read ({reason})"
        raise PolicyFileError(msg) from error
    if len(content) != entries[name].file_size:
        msg = f"is a damaged zip archive: `{name}` is cut off"
        raise PolicyFileError(msg)
    return content
