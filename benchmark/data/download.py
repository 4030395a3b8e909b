"""Fetching a published file once, with its checksum."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmark.utils.errors import UserError, one_line
from benchmark.utils.urls import revealed, shown


def cache_folder() -> Path:
    """Where downloads are kept: ``FEDBACKDOOR_CACHE``, or the system's cache folder."""
    import pooch

    return Path(os.environ.get("FEDBACKDOOR_CACHE") or pooch.os_cache("fedbackdoor"))


def fetch(base_url: str, file: str, checksum: str) -> Path:
    """The path of a file in the cache, downloaded if it is not there whole.

    A download goes to a temporary name and is renamed once its checksum is right, so that one
    which was interrupted leaves nothing that could be taken for the file.

    Args:
        base_url: the folder on the server; a mirror will do, since the checksum decides.
        file: name of the file, on the server and in the cache.
        checksum: ``"sha256:..."`` or ``"md5:..."``.

    Raises:
        UserError: no network, no such file on the server, or a wrong checksum.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    folder, url = cache_folder(), f"{revealed(base_url).rstrip('/')}/{file}"
    try:
        # pooch leaves a response open where it fails; the stack closes it.
        with ExitStack() as stack:
            downloader = pooch.HTTPDownloader(
                progressbar=sys.stderr.isatty(),
                hooks={"response": lambda response, **_: stack.enter_context(response)},
            )
            found = pooch.retrieve(url, checksum, fname=file, path=folder, downloader=downloader)
    except OSError as error:
        raise UserError(
            f"{shown(url)}: cannot be downloaded to {folder}; give data.path=... where you have "
            f"the data, or data.url=... of a mirror ({type(error).__name__}: {one_line(error)})"
        ) from None
    except ValueError as error:
        # What pooch raises where the checksum differs; its text names both values.
        raise UserError(f"{shown(url)}: wrong checksum: {one_line(error)}") from None
    return Path(found)


def archive(path: str | None, url: str, name: str, checksum: str) -> Path:
    """Where a published archive is: downloaded if there is no path, or in the folder of that path.

    A folder without the archive stands for itself: what was in it may lie there already.

    Raises:
        UserError: as :func:`fetch`.
    """
    if path is None:
        return fetch(url, name, checksum)
    place = Path(path).expanduser()
    return place / name if (place / name).is_file() else place
