"""Puts what goes wrong with the Hugging Face hub into one line that says what to do."""

from __future__ import annotations

import errno

from cierzo.model.errors import ModelError


def explain(repo: str, error: Exception) -> ModelError:
    """The ModelError for whatever huggingface_hub or the network raised about `repo`."""
    return error if isinstance(error, ModelError) else ModelError(f"{repo}: {_reason(repo, error)}")


def _reason(repo: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    where = constants.ENDPOINT
    match error:
        case errors.GatedRepoError():
            text = f"the model is gated; accept its terms on {where}/{repo} and set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            text = (
                f"no such repository at {where}, or it is private; check the name, and HF_TOKEN "
                "for a private one"
            )
        case errors.HfHubHTTPError():
            status = error.response.status_code
            hint = "check HF_TOKEN" if status in (401, 403) else "try again later"
            text = f"{where} answered {status}; {hint}"
        case errors.HFValidationError():
            text = "not a name of a repository"
        case _ if any(isinstance(e, errors.OfflineModeIsEnabled) for e in _chain(error)):
            text = "not in the cache, and HF_HUB_OFFLINE forbids to fetch it"
        case OSError(errno=errno.ENOSPC):
            text = (
                "the disk is full; make room or set HF_HOME to another disk, then try again (the "
                "download resumes)"
            )
        case _ if any(_is_network(e) for e in _chain(error)):
            text = (
                f"cannot reach {where} ({type(error).__name__}); check the network, HF_ENDPOINT "
                "and the proxy settings, then try again (a broken download resumes)"
            )
        case _:
            line = (str(error).splitlines() or [""])[0][:200]
            text = f"the download failed ({type(error).__name__}: {line}); try again"
    return text


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what led to it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _is_network(error: BaseException) -> bool:
    # huggingface_hub's client is httpx or, in newer versions, httpx2.
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__ in (
        "httpx",
        "httpx2",
    )
