"""A stand-in for the Hugging Face hub: repositories are folders, every commit is kept."""

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id


class Hub:
    """What `huggingface_hub.HfApi` is asked for, with folders behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, str] = {}  # repository -> the token that may read it
        self.commits: list[tuple[str, str]] = []

    def __call__(self, token: str | None = None) -> "Api":
        return Api(self, token)


class Api:
    def __init__(self, hub: Hub, token: str | None) -> None:
        self._hub, self._token = hub, token

    def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
        validate_repo_id(repo)
        if self._token == "wrong":
            raise PermissionError("401 Client Error: Unauthorized\nmore")
        there = self._hub.folder / repo
        assert exist_ok or not there.exists()
        if not there.exists() and private:
            self._hub.private[repo] = self._token or ""
        (there / "main").mkdir(parents=True, exist_ok=True)
        return f"https://hub.test/{repo}"

    def _place(self, repo: str, revision: str | None = None) -> Path:
        validate_repo_id(repo)
        place = self._hub.folder / repo / (revision or "main")
        allowed = self._hub.private.get(repo, self._token or "") == (self._token or "")
        if not place.is_dir() or not allowed:
            raise _missing(RepositoryNotFoundError, f"404 Client Error. {repo} is not there")
        return place

    def file_exists(self, repo: str, name: str) -> bool:
        return (self._place(repo) / name).exists()

    def list_repo_files(self, repo: str, *, revision: str | None = None) -> list[str]:
        place = self._place(repo, revision)
        return sorted(str(path.relative_to(place)) for path in place.rglob("*"))

    def hf_hub_download(self, repo: str, name: str, *, revision: str | None = None) -> str:
        path = self._place(repo, revision) / name
        if not path.is_file():
            raise _missing(EntryNotFoundError, f"404 Client Error. {name} is not in {repo}")
        return str(path)

    def create_commit(self, repo: str, operations: list[Any], *, commit_message: str) -> None:
        place = self._place(repo)
        for each in operations:
            assert isinstance(each, huggingface_hub.CommitOperationAdd)
            (place / each.path_in_repo).write_bytes(each.path_or_fileobj)  # type: ignore[arg-type]
        self._hub.commits.append((repo, commit_message))
        shutil.copytree(place, place.parent / f"commit-{len(self._hub.commits)}")


def _missing(kind: Any, message: str) -> Exception:
    made: Exception = kind.__new__(kind)
    Exception.__init__(made, message)
    return made
