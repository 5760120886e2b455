"""The rules of shape that no linter knows: one writing package per table, short functions, SQL in constants.

Each check is a function from source text to what is wrong with it, and each is shown to be able to fail.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import whatrack

SOURCE = Path(whatrack.__file__).parent
SCHEMA = SOURCE.parents[1] / "docs" / "schema.md"
MODULES = {
    str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))
}
MIGRATIONS = [path.read_text(encoding="utf-8") for path in sorted(SOURCE.glob("migrations/versions/*.sql"))]

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
SEES_EVERYBODY = {
    "inbox",
    "flow",
    "flow_connections",
    "work",
    "workers",
    "tenants",
    "migrations",
    "cli",
    "demo",
}

STATEMENT = re.compile(
    r"\s*(--.*\n\s*)*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|MERGE INTO|TRUNCATE|CREATE|ALTER|DROP)\b"
)
# Locking clauses and ON CONFLICT also say UPDATE; what they are followed by is no table.
WRITES = re.compile(
    r"(?:INSERT\s+INTO|(?<!DO )(?<!FOR )(?<!KEY )UPDATE(?:\s+ONLY)?|DELETE\s+FROM(?:\s+ONLY)?|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?"
    r"|COPY|ALTER\s+TABLE|DROP\s+TABLE)\s+([a-z_]+)"
)


def package_of(module: str) -> str:
    """inbox for inbox/store.py, flow for flow.py."""
    return module.removesuffix(".py").partition("/")[0]


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string of a module but its docstrings; of an f-string, the parts that stand in it."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def written_tables(source: str) -> set[str]:
    return {table for _, text in texts(ast.parse(source)) for table in WRITES.findall(text)}


def declared_tables(statements: list[str]) -> set[str]:
    """What the migrations made and did not drop later."""
    tables: set[str] = set()
    for text in statements:
        for dropped, made in re.findall(
            r"DROP TABLE ([a-z_, ]+);|CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+)", text
        ):
            tables -= {*dropped.split(", ")}
            tables |= {made} - {""}
    return tables


def documented_writers(schema: str) -> dict[str, str]:
    """Table → writing package, from rows such as `| contacts | contacts/ | … |`."""
    return dict(re.findall(r"^\|\s*`?([a-z_]+)`?\s*\|\s*`?([a-z_]+)/`?\s*\|", schema, re.MULTILINE))


def foreign_writes(module: str, source: str, writers: dict[str, str]) -> list[str]:
    """Tables that this module writes and another package owns."""
    return sorted(table for table in written_tables(source) if writers.get(table) != package_of(module))


def long_functions(source: str) -> list[str]:
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES]


def too_long(source: str) -> list[str]:
    lines = source.count("\n")
    return [f"{lines} lines"] if lines > MAX_FILE_LINES else []


def all_tenant_scopes(source: str) -> list[str]:
    """Calls of `….system()`."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        f"line {call.lineno}" for call in calls if isinstance(call, ast.Attribute) and call.attr == "system"
    ]


def relative_imports(source: str) -> list[str]:
    imports = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return [f"line {node.lineno}" for node in imports if node.level]


def missing_docstring(source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else ["the module's first statement is no docstring"]


def clock_reads(source: str) -> list[str]:
    """`datetime.now()` and its kin, under any name of the class."""
    kin = {"now": ("datetime",), "utcnow": ("datetime",), "today": ("datetime", "date")}
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in kin
        if isinstance(node.value, ast.Name | ast.Attribute) and _last_name(node.value) in kin[node.attr]
    ]


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def sql_in(source: str) -> list[str]:
    return [f"line {line}" for line, text in texts(ast.parse(source)) if STATEMENT.match(text)]


def loose_sql(source: str) -> list[str]:
    """SQL kept in a name that is not declared LiteralString, or put together from anything but constants."""
    tree = ast.parse(source)
    found = [
        f"line {node.lineno}: built from a value"
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and _is_built(node)
    ]
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _holds_sql(node.value):
            declared = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
            if "LiteralString" not in declared:
                found.append(f"line {node.lineno}: not declared LiteralString")
    return found


def _holds_sql(value: ast.expr) -> bool:
    """Whether a literal, or a tuple, list or dict of them, is SQL; a call such as sql.SQL(…) checks its own argument."""
    match value:
        case ast.Constant(value=str(text)):
            return bool(STATEMENT.match(text))
        case ast.JoinedStr(values=[first, *_]) | ast.Tuple(elts=[first, *_]) | ast.List(elts=[first, *_]):
            return _holds_sql(first)
        case ast.Dict(values=[first, *_]):
            return _holds_sql(first)
        case _:
            return False


def _is_built(node: ast.expr) -> bool:
    """An f-string of SQL with a value in it that is no constant of ours; SQL with % or format() applied in Python."""
    match node:
        case ast.JoinedStr(values=parts) if _holds_sql(node):
            return any(
                isinstance(part, ast.FormattedValue) and not _is_constant(part.value) for part in parts
            )
        case ast.BinOp(left=left, op=ast.Mod()):
            return _holds_sql(left)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return _holds_sql(value)
        case _:
            return False


def _is_constant(value: ast.expr) -> bool:
    """Whether a value is one of our constants by its name: COLUMNS, or WORD[0]."""
    if isinstance(value, ast.Subscript):
        value = value.value
    return isinstance(value, ast.Name) and value.id.isupper()


def each(
    check: Callable[[str], list[str]], skip: Callable[[str], bool] = lambda module: False
) -> dict[str, list[str]]:
    """Module → what the check found, where it found anything."""
    found = {module: check(source) for module, source in MODULES.items() if not skip(module)}
    return {module: wrong for module, wrong in found.items() if wrong}


def test_every_table_of_the_migrations_is_documented_with_its_writer_and_no_other():
    assert documented_writers(SCHEMA.read_text(encoding="utf-8")).keys() == declared_tables(MIGRATIONS)


def test_every_documented_writer_is_a_package():
    writers = set(documented_writers(SCHEMA.read_text(encoding="utf-8")).values())

    assert writers <= {package_of(module) for module in MODULES if "/" in module}


def test_a_table_is_written_by_one_package():
    writers = documented_writers(SCHEMA.read_text(encoding="utf-8"))
    found = {module: foreign_writes(module, source, writers) for module, source in MODULES.items()}

    assert {module: tables for module, tables in found.items() if tables} == {}


def test_every_table_is_written_by_its_package():
    """A documented writer that writes nothing would be a table nobody fills, or SQL that the check cannot see."""
    writers = documented_writers(SCHEMA.read_text(encoding="utf-8"))
    written = {
        (table, package_of(module)) for module, source in MODULES.items() for table in written_tables(source)
    }

    assert set(writers.items()) - written == set()


def test_functions_have_at_most_60_lines():
    assert each(long_functions) == {}


def test_files_have_at_most_400_lines():
    assert each(too_long) == {}


def test_only_those_who_serve_everybody_see_every_tenants_rows():
    assert each(all_tenant_scopes, skip=lambda module: package_of(module) in SEES_EVERYBODY) == {}


def test_flow_holds_no_sql():
    assert sql_in(MODULES["flow.py"]) == sql_in(MODULES["flow_connections.py"]) == []


def test_imports_are_absolute():
    assert each(relative_imports) == {}


def test_every_module_says_first_what_it_is():
    assert each(missing_docstring) == {}


def test_the_clock_is_the_databases():
    assert each(clock_reads) == {}


def test_sql_stands_in_literal_constants():
    assert each(loose_sql) == {}


LONG = "def f():\n" + "    x = 1\n" * 60


@pytest.mark.parametrize(
    ("check", "source"),
    [
        pytest.param(long_functions, LONG, id="long function"),
        pytest.param(
            long_functions, "class A:\n    async " + LONG.replace("\n    ", "\n        "), id="long method"
        ),
        pytest.param(too_long, "\n" * 401, id="long file"),
        pytest.param(
            all_tenant_scopes,
            "async with self._db.system() as conn: pass".replace("async ", ""),
            id="all tenants",
        ),
        pytest.param(relative_imports, "from . import store", id="relative import"),
        pytest.param(missing_docstring, "import os", id="no docstring"),
        pytest.param(clock_reads, "datetime.now(UTC)", id="datetime.now"),
        pytest.param(clock_reads, "datetime.datetime.utcnow()", id="utcnow by its module"),
        pytest.param(clock_reads, "f(default=date.today)", id="today without a call"),
        pytest.param(sql_in, "conn.execute('SELECT 1')", id="sql"),
        pytest.param(sql_in, "QUERY = f'''\n-- why\nUPDATE {TABLE} SET a = 1'''", id="sql behind a comment"),
        pytest.param(loose_sql, "FIND = 'SELECT 1'", id="sql without annotation"),
        pytest.param(loose_sql, "FIND: str = 'SELECT 1'", id="sql as str"),
        pytest.param(loose_sql, "STEPS = ('SELECT 1', 'SELECT 2')", id="tuple of sql"),
        pytest.param(loose_sql, "conn.execute(f'SELECT {column} FROM t')", id="sql from a value"),
        pytest.param(loose_sql, "conn.execute('SELECT %s' % column)", id="sql by percent"),
        pytest.param(loose_sql, "conn.execute('SELECT {}'.format(column))", id="sql by format"),
    ],
)
def test_a_check_finds_what_it_looks_for(check: Callable[[str], list[str]], source: str):
    assert check(source)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        pytest.param(long_functions, LONG.replace("    x = 1\n", "", 1), id="60 lines"),
        pytest.param(too_long, "\n" * 400, id="400 lines"),
        pytest.param(all_tenant_scopes, "def system(self): return self._scoped(ALL)", id="its definition"),
        pytest.param(relative_imports, "from whatrack import db", id="absolute import"),
        pytest.param(clock_reads, "await database.now(conn)", id="the database's clock"),
        pytest.param(sql_in, '"""SELECT in a docstring."""', id="docstring"),
        pytest.param(
            loose_sql,
            "FIND: LiteralString = f'SELECT {COLUMNS} FROM t WHERE {WORD[0]}'",
            id="sql of constants",
        ),
        pytest.param(loose_sql, "ALL: dict[str, LiteralString] = {'a': 'SELECT 1'}", id="dict of sql"),
        pytest.param(loose_sql, "X = sql.SQL('SELECT {}').format(name)", id="composed by the driver"),
    ],
)
def test_a_check_leaves_the_rest_alone(check: Callable[[str], list[str]], source: str):
    assert check(source) == []


@pytest.mark.parametrize(
    ("source", "tables"),
    [
        pytest.param(
            "X = 'INSERT INTO tickets (id) SELECT 1 ON CONFLICT DO UPDATE SET id = 2'",
            {"tickets"},
            id="upsert",
        ),
        pytest.param(
            "X = 'WITH d AS (DELETE FROM a USING b) UPDATE t x SET y = 1'", {"a", "t"}, id="inside WITH"
        ),
        pytest.param("X = f'UPDATE tickets SET {COLUMNS}'", {"tickets"}, id="f-string"),
        pytest.param("X = 'SELECT 1 FROM a FOR UPDATE OF a'", set(), id="row lock"),
        pytest.param("X = 'SELECT 1 FROM a FOR NO KEY UPDATE SKIP LOCKED'", set(), id="weaker row lock"),
        pytest.param("'INSERT INTO tickets: what this module never does'", set(), id="docstring"),
        pytest.param("X = 'ALTER TABLE messages ATTACH PARTITION p'", {"messages"}, id="partition"),
        pytest.param("X = 'TRUNCATE a'", {"a"}, id="truncate"),
    ],
)
def test_writes_are_seen_in_every_shape(source: str, tables: set[str]):
    assert written_tables(source) == tables


def test_a_write_to_anothers_table_or_an_unknown_one_is_found():
    writers = {"tickets": "tickets"}
    source = "X = 'UPDATE tickets SET id = 1'; Y = 'INSERT INTO nowhere VALUES (1)'"

    assert foreign_writes("board/list.py", source, writers) == ["nowhere", "tickets"]
    assert foreign_writes("tickets/store.py", source, writers) == ["nowhere"]


def test_documented_writers_are_read_from_the_table_alone():
    schema = "| table | writer | row |\n|---|---|---|\n| contacts | contacts/ | A person. |\n| `stages` | `tickets/` | A column. |\n"

    assert documented_writers(schema) == {"contacts": "contacts", "stages": "tickets"}


LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
PAGES = [SCHEMA.parents[1] / "README.md", *sorted(SCHEMA.parent.rglob("*.md"))]


def test_a_decision_has_a_number_of_its_own_and_says_it():
    pages = sorted((SCHEMA.parent / "decisions").glob("*.md"))

    numbers = [int(page.name[:4]) for page in pages]
    assert len(numbers) == len(set(numbers))
    titles = [re.match(r"# (\d+)", page.read_text(encoding="utf-8")) for page in pages]
    assert [title and int(title[1]) for title in titles] == numbers


def test_a_link_of_a_page_leads_somewhere_and_to_the_decision_it_names():
    links = [
        (page.name, *found)
        for page in PAGES
        for found in re.findall(r"\[([^\]]*)" + LINK.pattern, page.read_text(encoding="utf-8"))
    ]

    assert len(links) > 10
    folders = {page.name: page.parent for page in PAGES}
    assert [each for each in links if not (folders[each[0]] / each[2]).exists()] == []
    numbered = [each for each in links if re.fullmatch(r"\d{4}", each[1])]
    assert [each for each in numbered if f"decisions/{each[1]}-" not in each[2]] == []
