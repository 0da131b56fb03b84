import uuid

import optuna
import postgres
import pytest


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="session")
def server():
    """A real PostgreSQL server."""
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres.running_server() as running:
        yield running


@pytest.fixture
def database(server):
    """The URL of a new database on it."""
    return server.create_database(uuid.uuid4().hex)
