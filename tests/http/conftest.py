"""A server with the test data in it, one for each module: a test makes repositories of its own."""

import pytest

from tests.http.application import Application


@pytest.fixture(scope="module")
def application(sqlite_template, tmp_path_factory):
    """A running server with the test data."""
    made = Application(tmp_path_factory.mktemp("application"), sqlite_template).start().fill()
    yield made
    made.stop()


@pytest.fixture
def make_application(sqlite_template, tmp_path_factory):
    """Start a server with people and empty repositories, and with these settings."""
    made = []

    def make(**settings):
        directory = tmp_path_factory.mktemp("application")
        made.append(Application(directory, sqlite_template, **settings).start().populate())
        return made[-1]

    yield make
    for application in made:
        application.stop()


@pytest.fixture
def repository(application):
    """A new repository of devtable's, and a client for it."""
    return application.repository()
