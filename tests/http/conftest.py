"""A server with the test data in it, one for each module: a test makes repositories of its own."""

import pytest

from tests.http.application import Application


@pytest.fixture(scope="session")
def filled(sqlite_template, tmp_path_factory):
    """A stopped server with the test data, to be copied: to make it takes longer than most tests do."""
    made = Application(tmp_path_factory.mktemp("filled"), sqlite_template).start().fill()
    made.stop()
    return made


@pytest.fixture(scope="session")
def populated(sqlite_template, tmp_path_factory):
    """A stopped server with people and empty repositories, to be copied."""
    made = Application(tmp_path_factory.mktemp("populated"), sqlite_template).start().populate()
    made.stop()
    return made


@pytest.fixture(scope="module")
def application(filled, tmp_path_factory):
    """A running server with the test data."""
    made = filled.copied(tmp_path_factory.mktemp("application")).start()
    yield made
    made.stop()


@pytest.fixture
def make_application(populated, sqlite_template, tmp_path_factory):
    """Start a server with people and empty repositories, and with these settings."""
    made = []

    def make(**settings):
        directory = tmp_path_factory.mktemp("application")
        if "DEFAULT_TAG_EXPIRATION" in settings:  # the namespaces have it from when they were made
            made.append(Application(directory, sqlite_template, **settings).start().populate())
        else:
            made.append(populated.copied(directory, **settings).start())
        return made[-1]

    yield make
    for application in made:
        application.stop()


@pytest.fixture
def repository(application):
    """A new repository of devtable's, and a client for it."""
    return application.repository()
