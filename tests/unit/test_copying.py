"""What COPY and ADD put into an image, without an engine: files, names, owners and modes as the builder's would be."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from forklab.errors import UsageError
from forklab.grade import copying
from forklab.grade.copying import Look
from forklab.grade.submission import Submission

FILES = ("Makefile", "server.c", "net.c", "src/a.c", "src/deep/b.c", "docs/x.txt")


def submission(folder: Path, *names: str) -> Submission:
    """A folder with these files, each of which holds its name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return Submission.at(folder)


def content(tar: Any) -> dict[str, str]:
    """The files of a tar, and what they hold; folders are left out."""
    with tarfile.open(fileobj=tar) as opened:
        return {each.name: opened.extractfile(each).read().decode() for each in opened if each.isreg()}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("server.c", [{"it": "server.c"}]),
        ("./src/../net.c", [{"it": "net.c"}]),
        ("*.c", [{"it": "net.c"}, {"it": "server.c"}]),
        ("src", [{"a.c": "src/a.c", "deep/b.c": "src/deep/b.c"}]),
        ("/src/deep/", [{"b.c": "src/deep/b.c"}]),
        ("*/a.c", [{"it": "src/a.c"}]),
        ("s*", [{"it": "server.c"}, {"a.c": "src/a.c", "deep/b.c": "src/deep/b.c"}]),
        (".", [{name: name for name in FILES}]),
    ],
)
def test_a_source_names_files_and_what_folders_hold(tmp_path: Path, pattern: str, found: list[dict[str, str]]) -> None:
    """A * stands for no /; of a folder its content is copied."""
    sources = copying.of_folder(submission(tmp_path, *FILES).files, pattern)
    taken = []
    for source in sources:
        with source.tar("it" if source.name else "", Look()) as tar:
            taken.append(content(tar))
    assert taken == found


@pytest.mark.parametrize("pattern", ["nothing.c", "../secret", "src/*.h", "/etc/passwd"])
def test_a_source_that_is_not_in_the_folder_is_told(tmp_path: Path, pattern: str) -> None:
    """Nothing outside of it can be named."""
    with pytest.raises(ValueError, match="there is no"):
        copying.of_folder(submission(tmp_path, *FILES).files, pattern)


def test_an_archive_is_not_unpacked(tmp_path: Path) -> None:
    """ADD would; COPY does not, and may take it."""
    files = submission(tmp_path, "x.tar.gz").files
    with pytest.raises(ValueError, match="unpack it in a RUN"):
        copying.of_folder(files, "x.tar.gz", add=True)
    assert len(copying.of_folder(files, "x.tar.gz")) == 1


def test_what_is_ignored_is_not_there(tmp_path: Path) -> None:
    """.dockerignore, with exceptions: the last pattern that fits counts."""
    (tmp_path / ".dockerignore").write_text("# nothing of these\n/docs/\n\n**/*.c\n!server.c\n! src/deep\nsrc/a.?\n")
    sent = sorted(copying.sent(submission(tmp_path, *FILES)))
    assert sent == [".dockerignore", "Makefile", "server.c", "src/deep/b.c"]


def test_patterns_take_no_time(tmp_path: Path) -> None:
    """However they are made up: they are a stranger's."""
    name = "/".join("a" * 30)
    (tmp_path / ".dockerignore").write_text("**/a/" * 30 + "b\n" + "*a" * 100 + "b\n")
    assert name in copying.sent(submission(tmp_path, name))
    for line in ("**/a/" * 200 + "b", "**/" * 200, "**/" * 200 + "c"):
        (tmp_path / ".dockerignore").write_text(f"a/c\n{line}")
        assert (name in copying.sent(submission(tmp_path, name))) == (line[-1] != "/")


@pytest.mark.parametrize("text", ["a\n" * 201, "a" * 8193, "**/a/" * 201])
def test_patterns_have_bounds(tmp_path: Path, text: str) -> None:
    """In number and length: each file is compared with all of them."""
    (tmp_path / ".dockerignore").write_text(text)
    with pytest.raises(UsageError, match=r"more than 8 KiB, 200 lines or 200 times \*\*"):
        copying.sent(submission(tmp_path, "b"))


@pytest.mark.parametrize(
    ("pattern", "ignored"),
    [
        ("**", "a/b/c.c a/c.c c.c x.h"),
        ("a/**", "a/b/c.c a/c.c"),
        ("**/**/c.c", "a/b/c.c a/c.c c.c"),
        ("a/**/c.c", "a/b/c.c a/c.c"),
        ("a/*/c.c", "a/b/c.c"),
        ("*/b", "a/b/c.c"),
        ("**/b/**", "a/b/c.c"),
        ("a/a/b", ""),
        ("?.[c]", "c.c"),
    ],
)
def test_a_pattern_names_files_and_folders(tmp_path: Path, pattern: str, ignored: str) -> None:
    """From the top; a folder with all that is in it; ** is any number of folders, also none."""
    files = submission(tmp_path, "a/b/c.c", "a/c.c", "c.c", "x.h").files
    (tmp_path / ".dockerignore").write_text(pattern)
    sent = copying.sent(Submission(tmp_path, "", files | {".dockerignore": tmp_path / ".dockerignore"}))
    assert sorted(files.keys() - sent.keys()) == ignored.split()


def test_files_look_as_they_are_told_to(tmp_path: Path) -> None:
    """Owner and mode, also of the folders above them, which nobody else may write to."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "link").symlink_to("a.c")
    (source,) = copying.of_folder(submission(tmp_path, *FILES).files, ".")
    with source.tar("", Look(7, 8, None)) as tar, tarfile.open(fileobj=tar) as opened:
        members = {each.name: each for each in opened}
        assert {(each.uid, each.gid) for each in members.values()} == {(7, 8)}
        assert (members["src/deep"].isdir(), members["src/deep"].mode) == (True, 0o755)
        assert members["src/link"].linkname == "a.c"
    with source.tar("", Look(mode=0o700)) as tar, tarfile.open(fileobj=tar) as opened:
        assert {each.mode for each in opened if not each.issym()} == {0o700}


def test_a_file_with_two_names_is_copied_under_both(tmp_path: Path) -> None:
    """Neither is a hard link to the other."""
    files = submission(tmp_path, "a.c").files
    (tmp_path / "b.c").hardlink_to(tmp_path / "a.c")
    (source,) = copying.of_folder(files | {"b.c": tmp_path / "b.c"}, ".")
    with source.tar("", Look()) as tar:
        assert content(tar) == {"a.c": "a.c", "b.c": "a.c"}


class Other:
    """A container with these files, as ``Box`` has it."""

    def __init__(self, *members: tuple[str, bytes, str], kind: str = "dir") -> None:
        self._members, self._kind = members, kind

    def look(self, path: str) -> tuple[str, str]:
        """It has links followed."""
        return (self._kind, f"/real{path}") if path != "/none" else ("none", "")

    def get(self, path: str) -> Iterator[bytes]:
        """In small pieces."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for name, kind, text in self._members:
                member = tarfile.TarInfo(name)
                member.type, member.uid, member.mode = kind, 99, 0o640
                if kind == tarfile.REGTYPE:
                    member.size = len(text)
                    tar.addfile(member, io.BytesIO(text.encode()))
                else:
                    member.linkname = text
                    tar.addfile(member)
        data = made.getvalue()
        return iter([data[place : place + 100] for place in range(0, len(data), 100)])


def names(tar: Any) -> Sequence[tuple[str, str, int]]:
    """Name, link and owner of each member."""
    with tarfile.open(fileobj=tar) as opened:
        return [(each.name, each.linkname, each.uid) for each in opened]


def test_a_folder_of_another_stage_is_taken_without_its_own_name() -> None:
    """With links of both kinds; what is a device stays away."""
    other: Any = Other(
        ("./", tarfile.DIRTYPE, ""),
        ("./sub", tarfile.DIRTYPE, ""),
        ("./sub/a", tarfile.REGTYPE, "text"),
        ("./hard", tarfile.LNKTYPE, "./sub/a"),
        ("./soft", tarfile.SYMTYPE, "./sub/a"),
        ("./null", tarfile.CHRTYPE, ""),
    )
    source = copying.of_container(other, "src")
    assert source.name == ""
    with source.tar("", Look()) as tar:
        assert names(tar) == [("sub", "", 0), ("sub/a", "", 0), ("hard", "sub/a", 0), ("soft", "./sub/a", 0)]


def test_a_file_of_another_stage_gets_its_new_name() -> None:
    """The name in COPY counts, not that of what a link leads to."""
    other: Any = Other(("server-1.2", tarfile.REGTYPE, "text"), kind="file")
    source = copying.of_container(other, "/usr/bin/server")
    assert source.name == "server"
    with source.tar("echod", Look(5)) as tar:
        assert names(tar) == [("echod", "", 5)]


@pytest.mark.parametrize(("name", "told"), [("/none", "there is no /none"), ("/lib/*.so", "takes names, no patterns")])
def test_what_another_stage_does_not_have_is_told(name: str, told: str) -> None:
    """Patterns would need a list of its files."""
    other: Any = Other()
    with pytest.raises(ValueError, match=told):
        copying.of_container(other, name)


def test_too_much_of_another_stage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build may fill the disk of the engine within limits, and not that of this computer."""
    other: Any = Other(("big", tarfile.REGTYPE, "x" * 2000), kind="file")
    with pytest.raises(ValueError, match="more than"), copying._moved(other.get(""), "x", Look(), most=1000):
        pass
    many: Any = Other(*((f"./{number}", tarfile.REGTYPE, "") for number in range(100)))
    with pytest.raises(ValueError, match="more than"), copying._moved(many.get(""), "x", Look(), most=50_000):
        pass


def test_owners_have_names_in_the_image() -> None:
    """A number is one; a user without a group has the group of the same number."""
    other: Any = Other(("passwd", tarfile.REGTYPE, "root:x:0:0::/:\napp:x:1001:50::/:/bin/sh\n"), kind="file")
    looks = [copying.look(other, owner, mode) for owner, mode in (("", ""), ("app", "755"), ("5:app", ""))]
    assert looks == [Look(0, 0, None), Look(1001, 1001, 0o755), Look(5, 1001, None)]
    with pytest.raises(ValueError, match="there is no web in its /etc/passwd"):
        copying.look(other, "web", "")
    with pytest.raises(ValueError, match=r"--chmod=u\+x is no mode"):
        copying.look(other, "", "u+x")
