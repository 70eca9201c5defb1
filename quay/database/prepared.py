"""
Statements that run again and again: compiled once, and from then on handed to the driver as they are. For a small one,
SQLAlchemy needs several times as long as the engine does to answer it.

A `Prepared` is compiled once for each kind of engine and each shape of its parameters: their names, and the lengths of
the lists that an IN takes. What comes of it is what would come of it by way of SQLAlchemy: the same text, the same
types, the same errors. What is not as simple (lists that are long, many rows with RETURNING, a savepoint of
SQLAlchemy's) does go that way.

An answer is read at once, so only what has a small one is prepared. Listeners of SQLAlchemy do not hear of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final, TypeAlias

import attrs
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import result_tuple
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql.compiler import SQLCompiler

LENGTHS: Final = (0, 1, 2, 4, 8, 16, 32, 64)
"""How long the list of an IN is made, by its last value over again, so that there are few shapes."""

TOO_LONG: Final = -1

Parameters: TypeAlias = Mapping[str, Any] | list[dict[str, Any]] | None
Row: TypeAlias = sa.Row[*tuple[Any, ...]]
Statement: TypeAlias = sa.Select[Any] | sa.CompoundSelect[Any] | sa.UpdateBase
_Convert: TypeAlias = Callable[[Any], Any]


class Answer:
    """What a prepared statement came to: its rows, and how many rows an INSERT, UPDATE or DELETE touched."""

    __slots__ = ("_row", "_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int, row: Callable[[Any], Row] | None = None) -> None:
        self._rows = rows
        self._row = row  # makes one of what the driver gave, if that has not been done
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows if self._row is None else map(self._row, self._rows))

    def all(self) -> list[Row]:
        return list(self)

    def first(self) -> Row | None:
        return next(iter(self), None)

    def scalar(self) -> Any:
        """The first column of the first row; None if there is no row."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """The first column of the one row. Raises `NoResultFound` and `MultipleResultsFound`, as SQLAlchemy does."""
        if not self._rows:
            raise exc.NoResultFound("No row was found when one was required")
        if len(self._rows) > 1:
            raise exc.MultipleResultsFound("Multiple rows were found when exactly one was required")
        return self._rows[0][0]

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self._rows]


# --- compiling ----------------------------------------------------------------------------------------------------


class Prepared:
    """
    A SELECT, or an INSERT, UPDATE or DELETE with or without RETURNING, for `Transaction.execute`: it is composed before
    it is prepared. All engines of one kind have to be opened alike.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement: Final = statement
        self._shapes: dict[tuple[object, ...], _Shape] = {}

    def plan(self, dialect: Dialect, parameters: Mapping[str, Any], *, many: bool = False) -> Plan | None:
        """How to run it, once or `many` times, with parameters like these; None if that is for SQLAlchemy to do."""
        key = (type(dialect), many, *parameters)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = _Shape(self.statement, dialect, parameters, many)
        return shape.plan(parameters)


class _Shape:
    """A statement for a kind of engine and parameters of some names."""

    def __init__(self, statement: Statement, dialect: Dialect, names: Collection[str], many: bool) -> None:
        self._columns = list(statement.exported_columns)
        if isinstance(statement, sa.Insert) and not self._columns:
            statement = statement.inline()  # or SQLAlchemy would have the new keys returned
        compiled = statement.compile(dialect=dialect, column_keys=list(names), for_executemany=many)
        assert isinstance(compiled, SQLCompiler), "it is no DDL"
        self._compiled = compiled
        self._lists = [name for name, bind in compiled.binds.items() if bind.expanding and name in names]
        self._is_unusual = bool(
            compiled.escaped_bind_names
            or compiled.literal_execute_params
            or (many and (self._columns or self._lists))
            or any(bind.callable for bind in compiled.binds.values())
            or any(bind.key != name and bind.key in names for name, bind in compiled.binds.items())
        )
        self._plans: dict[tuple[int, ...], Plan | None] = {}

    def plan(self, parameters: Mapping[str, Any]) -> Plan | None:
        lengths = tuple([_length(parameters[name]) for name in self._lists]) if self._lists else ()
        if lengths not in self._plans:
            usual = not self._is_unusual and TOO_LONG not in lengths
            self._plans[lengths] = self._planned(parameters, lengths) if usual else None
        return self._plans[lengths]

    def _planned(self, parameters: Mapping[str, Any], lengths: Sequence[int]) -> Plan | None:
        lists = dict(zip(self._lists, lengths, strict=True))
        filled = {name: _filled(parameters[name], length) for name, length in lists.items()}
        state = self._compiled.construct_expanded_state({**parameters, **filled})
        expansions = {name: state.parameter_expansion[name] for name in lists}
        if any(len(expansions[name]) != length for name, length in lists.items()):
            return None  # their values are tuples
        conversions = self._conversions(state.parameter_expansion)
        given = {*parameters, *(name for names in expansions.values() for name in names)}
        constants = {
            name: conversions[name](value) if name in conversions else value
            for name, value in state.parameters.items()
            if name not in given
        }
        conversions = {name: convert for name, convert in conversions.items() if name in given}
        layout = _Layout(state.positiontup, constants, expansions, conversions)
        return Plan(state.statement, layout, _Reader(self._compiled.dialect, self._columns))

    def _conversions(self, expansions: Mapping[str, Sequence[str]]) -> dict[str, _Convert]:
        """What makes of a parameter what the driver takes, for those that are not taken as they are."""
        dialect = self._compiled.dialect
        found: dict[str, _Convert] = {}
        for name, bind in self._compiled.binds.items():
            convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
            if convert is not None:
                found.update(dict.fromkeys(expansions.get(name, [name]), convert))
        return found


def _length(values: Collection[Any]) -> int:
    return LENGTHS[bisect_left(LENGTHS, len(values))] if len(values) <= LENGTHS[-1] else TOO_LONG


def _filled(values: Collection[Any], length: int) -> list[Any]:
    filled = list(values)
    return filled + filled[-1:] * (length - len(filled))


class _Layout:
    """Parameters as they are given, to parameters as the driver takes them."""

    def __init__(
        self,
        positions: Sequence[str] | None,
        constants: Mapping[str, Any],
        expansions: Mapping[str, Sequence[str]],
        conversions: Mapping[str, _Convert],
    ) -> None:
        self._order = _order(positions)
        self._constants = constants
        self._expansions = [(name, names) for name, names in expansions.items()]
        self._conversions = list(conversions.items())
        self._is_order_only = not (constants or expansions or conversions)

    def __call__(self, parameters: Mapping[str, Any]) -> Any:
        if self._is_order_only:
            return self._order(parameters)
        values = {**self._constants, **parameters}
        for name, names in self._expansions:
            values.update(zip(names, _filled(values[name], len(names)), strict=True))
        for name, convert in self._conversions:
            values[name] = convert(values[name])
        return self._order(values)


def _order(positions: Sequence[str] | None) -> Callable[[Mapping[str, Any]], Any]:
    if positions is None:
        return lambda values: values
    if len(positions) == 1:
        name = positions[0]
        return lambda values: (values[name],)
    return itemgetter(*positions) if positions else lambda values: ()


class _Reader:
    """What a cursor has, to an answer."""

    def __init__(self, dialect: Dialect, columns: Sequence[sa.ColumnElement[Any]]) -> None:
        self._dialect = dialect
        self._columns = columns
        self._row: Callable[[Any], Row] | None = None
        self._conversions: list[tuple[int, _Convert]] = []

    def __call__(self, cursor: DBAPICursor) -> Answer:
        if not self._columns:
            return Answer((), cursor.rowcount)
        if self._row is None:
            self._learn(cursor.description)
        rows = cursor.fetchall()
        if self._conversions:
            rows = [self._converted(row) for row in rows]
        return Answer(rows, cursor.rowcount, self._row)

    def _learn(self, description: Sequence[Sequence[Any]]) -> None:
        """The names of the columns and the driver's types, which are always the same."""
        impls = (column.type.dialect_impl(self._dialect) for column in self._columns)
        found = [impl.result_processor(self._dialect, told[1]) for impl, told in zip(impls, description, strict=True)]
        self._conversions = [(place, convert) for place, convert in enumerate(found) if convert is not None]
        self._row = result_tuple([told[0] for told in description])

    def _converted(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for place, convert in self._conversions:
            values[place] = convert(values[place])
        return tuple(values)


@attrs.frozen
class Plan:
    """A statement as the driver takes it: its text, what makes parameters for it, and what reads its answer."""

    text: str
    layout: Callable[[Mapping[str, Any]], Any]
    reader: Callable[[DBAPICursor], Answer]


# --- running ------------------------------------------------------------------------------------------------------


class Driver:
    """The way past SQLAlchemy for one transaction on its `connection`; `cursor` is the driver's, once it was needed."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.cursor: DBAPICursor | None = None

    def run(self, prepared: Prepared, parameters: Parameters) -> Answer:
        """Run it, once for each of the parameters. Raises what SQLAlchemy would raise."""
        ready = self._ready(prepared, parameters) if _is_simple(self._connection) else None
        if ready is None:
            return _answer(self._connection.execute(prepared.statement, parameters))
        plan, values, many = ready
        try:
            cursor = self.cursor = self.cursor or self._connection.connection.cursor()
            if many:
                cursor.executemany(plan.text, values)
            else:
                cursor.execute(plan.text, values)
            return plan.reader(cursor)
        except self._connection.dialect.loaded_dbapi.Error as error:
            self.cursor = None
            raise _as_sqlalchemy(error, self._connection, plan.text, values, many) from error

    def _ready(self, prepared: Prepared, parameters: Parameters) -> tuple[Plan, Any, bool] | None:
        """How to run it, with what, and whether many times; None if that is for SQLAlchemy to do."""
        rows = parameters if isinstance(parameters, list) else []
        row: Mapping[str, Any] = rows[0] if rows else {}
        if parameters and not isinstance(parameters, list):
            row = parameters
        many = len(rows) > 1
        try:
            plan = prepared.plan(self._connection.dialect, row, many=many)
            if plan is None:
                return None
            return plan, [*map(plan.layout, rows)] if many else plan.layout(row), many
        except Exception:  # such parameters cannot be, and SQLAlchemy says why
            return None


def say(connection: sa.Connection, text: str) -> None:
    """Have the driver run what has no parameters and no answer, such as BEGIN. Raises what SQLAlchemy would raise."""
    try:
        connection.connection.cursor().execute(text)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy(error, connection, text, None, many=False) from error


def _is_simple(connection: sa.Connection) -> bool:
    """Whether a transaction is going on that SQLAlchemy would have no more to do for than we have."""
    return connection.in_transaction() and not connection.invalidated and connection.get_nested_transaction() is None


def _answer(result: sa.CursorResult[Any]) -> Answer:
    return Answer(result.all() if result.returns_rows else (), result.rowcount)


def _as_sqlalchemy(error: Any, connection: sa.Connection, text: str, values: Any, many: bool) -> BaseException:
    """What SQLAlchemy makes of an error of the driver; if the connection is lost, it learns of that."""
    dialect = connection.dialect
    if dialect.is_disconnect(error, connection.connection, None):
        with suppress(exc.DBAPIError):  # what it tries itself, it sees fail: it drops this connection, and all as old
            connection.exec_driver_sql("SELECT 1")
    made: BaseException = exc.DBAPIError.instance(
        text,
        values,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=connection.engine.hide_parameters,
        connection_invalidated=connection.invalidated,
        dialect=dialect,
        ismulti=many,
    )
    return made
