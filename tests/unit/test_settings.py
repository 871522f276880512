"""What a user may choose, what is refused, and what the checkout remembers."""

from pathlib import Path

import pytest

from forklab.errors import UsageError
from forklab.settings import Settings


def test_a_given_word_beats_the_environment_which_beats_the_default() -> None:
    """Each setting is looked for on its own; an empty word counts as not given."""
    chosen = Settings.choose({"model": "fork", "port": ""}, {"FORKLAB_MODEL": "iterative", "FORKLAB_PORT": "7000"})
    assert (chosen.model, chosen.port, chosen.service) == ("fork", "7000", "echo")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "frok"),
        ("service", "ehco"),
        *(("port", port) for port in ("abc", "0", "65536", "-1", "1.5", "²")),
        *(("pids", pids) for pids in ("15", "many", "-1")),
        ("trace", "yes"),
        *(("options", words) for words in ("'", "$HOME", "a\nb", "--port 1", "--host=x")),
    ],
)
def test_what_the_lab_cannot_use_is_refused_with_its_value(field: str, value: str) -> None:
    """Nothing that cannot work reaches compose."""
    with pytest.raises(UsageError) as refused:
        Settings.choose({field: value}, {})
    assert value in str(refused.value)


def test_every_setting_reaches_compose() -> None:
    """The environment has all variables, also the empty ones, so that neither .env nor the shell decides."""
    chosen = Settings("iterative", "echo", "9190", "--log json", "64")
    assert chosen.environment() == {
        "FORKLAB_MODEL": "iterative",
        "FORKLAB_SERVICE": "echo",
        "FORKLAB_PORT": "9190",
        "FORKLAB_SERVER_OPTIONS": "--log json",
        "FORKLAB_PIDS": "64",
        "FORKLAB_TRACE": "",
    }


def test_the_choice_is_remembered_and_other_lines_stay(tmp_path: Path) -> None:
    """A second choice replaces the first; what is not ours is kept; no other file is left."""
    file = tmp_path / ".env"
    file.write_text("MINE=1\n# a comment\nFORKLAB_MODEL='old'\n")
    Settings("iterative").remember(tmp_path, {})
    Settings("iterative", options="--log json").remember(tmp_path, {})
    lines = file.read_text().splitlines()
    assert lines[:2] == ["MINE=1", "# a comment"]
    assert [line for line in lines if "MODEL" in line] == ["FORKLAB_MODEL='iterative'"]
    assert "FORKLAB_SERVER_OPTIONS='--log json'" in lines
    assert list(tmp_path.iterdir()) == [file]


def test_a_lab_of_another_name_is_not_remembered(tmp_path: Path) -> None:
    """Runs of the tests have a project name of their own and leave the user's choice alone."""
    Settings().remember(tmp_path, {"COMPOSE_PROJECT_NAME": "other"})
    assert not list(tmp_path.iterdir())
