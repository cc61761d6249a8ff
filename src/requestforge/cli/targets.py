"""The pipeline that a command line names: one of an application, or keys in a storage."""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import click

from requestforge import (
    BodyTokenFetcher,
    FileTokenStorage,
    HttpClientException,
    PipelineTokenProvider,
    RedisTokenStorage,
    TokenFetchPipeline,
    TokenStorageInterface,
)

_NOWHERE = "https://nowhere.invalid"
"""Where steps would fetch of which the name alone is known; none of them is asked to."""


class CannotTell(click.ClickException):
    """The command could not do what was asked; status 2, unlike an answer that is no."""

    exit_code = 2


def load(target: str) -> TokenFetchPipeline:
    """The pipeline that `module:name` stands for, with the current folder on the import path.

    The name may be one of a pipeline, of a PipelineTokenProvider, or of a callable without
    arguments that gives one of them. Where DJANGO_SETTINGS_MODULE is set, Django is set up first.

    Raises:
        CannotTell: there is no such module or name, its code fails, or it stands for another thing.
    """
    module, _, name = target.partition(":")
    if not (module and name):
        raise CannotTell(f"{target!r} is not of the form module:name, as in myapp.auth:pipeline.")
    folder = os.getcwd()  # noqa: PTH109 - an entry of sys.path
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # What an application prints while it is loaded is not what was asked for.
    with redirect_stdout(sys.stderr):
        found = _found(target, module, name)
    if isinstance(found, PipelineTokenProvider):
        found = found.pipeline
    if not isinstance(found, TokenFetchPipeline):
        raise CannotTell(
            f"{target} is of type {type(found).__name__}. Name a TokenFetchPipeline, a "
            "PipelineTokenProvider, or a function without arguments that returns one."
        )
    return found


def in_redis(url: str, key_prefix: str, prefix: str, steps: Sequence[str]) -> TokenFetchPipeline:
    """Those keys of a Redis, as the steps of a pipeline that fetches nothing.

    Raises:
        CannotTell: the URL is none of Redis, or redis-py is not installed.
    """
    try:
        storage = RedisTokenStorage(url=url, key_prefix=key_prefix)
    except (ImportError, ValueError) as error:
        raise CannotTell(str(error)) from error
    return _keys(storage, prefix, steps)


def in_files(directory: str, prefix: str, steps: Sequence[str]) -> TokenFetchPipeline:
    """Those keys of a directory of tokens, likewise.

    Raises:
        CannotTell: there is no such directory, it is open to other users, or filelock is not
            installed.
    """
    if not Path(directory).expanduser().is_dir():  # a storage would make it
        raise CannotTell(f"There is no directory {directory!r}.")
    try:
        storage = FileTokenStorage(directory)
    except (ImportError, ValueError, OSError) as error:
        raise CannotTell(str(error)) from error
    return _keys(storage, prefix, steps)


def reason(error: BaseException) -> str:
    """Type and text of an error of whatever code, without what looks like a credential."""
    if isinstance(error, HttpClientException):
        return str(error)
    shown = error if isinstance(error, Exception) else RuntimeError(f"it ended with {error}")
    return str(HttpClientException("", shown)).removeprefix(" | Original: ")


def _found(target: str, module: str, name: str) -> object:
    try:
        _set_up_django()
        found: object = attrgetter(name)(importlib.import_module(module))
        known = isinstance(found, TokenFetchPipeline | PipelineTokenProvider)
        return found() if callable(found) and not known else found
    except (Exception, SystemExit) as error:
        raise CannotTell(
            f"{target} could not be loaded. {reason(error)}\n"
            f"`python -c 'import {module}'` in this folder may show more."
        ) from error


def _set_up_django() -> None:
    if os.environ.get("DJANGO_SETTINGS_MODULE") and find_spec("django"):
        importlib.import_module("django").setup()


def _keys(storage: TokenStorageInterface, prefix: str, steps: Sequence[str]) -> TokenFetchPipeline:
    try:
        return TokenFetchPipeline(
            [BodyTokenFetcher(step, _NOWHERE, "/") for step in steps], storage, prefix
        )
    except ValueError as error:
        raise CannotTell(str(error)) from error
