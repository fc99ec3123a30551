"""The SQL guard refuses names that reach outside, under any spelling, and lets data pass."""

import contextlib

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.sql.guard import RefusedSql, check_reading_sql, check_sql
from freehold.sql.tokens import tokens

REFUSED = [
    "select readfile('/etc/passwd')",
    "SELECT ReadFile ('/etc/passwd')",
    "select \"readfile\"('/etc/passwd')",
    "select `readfile`('/x')",
    "select [readfile]('/x')",
    "select 'readfile'('/x')",
    "select readfile/* a comment */('/x')",
    "select readfile--\n('/x')",
    "select/**/readfile('/x')",
    "/*/ select 1 */ select readfile('/x')",
    "\ufeffselect \ufeffreadfile('/x')",
    "select $x('), readfile('/x') --'",
    "select :a::b('), readfile('/x') --'",
    "select 'it''s', readfile('/x')",
    'select "a""b", readfile(\'/x\')',
    "select [a'b], readfile('/x') -- '",
    "select `a'b`, readfile('/x') -- '",
    "select x'00', writefile('/x', 'y')",
    "select 1.readfile('/x')",
    "select * from fsdir",
    "select * from 'fsdir'",
    "select * from main.'fsdir'",
    "select * from \"FSDIR\"('/')",
    "select * from t, 'fsdir'",
    "select * from t join 'fsdir' on 1",
    "select * from (t, 'fsdir')",
    "select * from ('fsdir')",
    "select * from (select 1), 'fsdir'",
    "select 1 in 'fsdir'",
    "select 1 where name in fsdir('/')",
    "create view v as select readfile('/x')",
    "create trigger g after insert on t begin select writefile('/x', new.a); end",
    "create table t(a default (readfile('/x')))",
    "create index i on t(readfile(a))",
    "insert into t values(1); select readfile('/x')",
    "create virtual table z using zipfile('/x.zip')",
    "create virtual table z using 'csv'(filename='/x')",
    "create virtual table z using csv(filename='/x')",
    "select * from sqlite_dbpage",
    "update sqlite_dbpage set data = x''",
    "select load_extension('x')",
    "select fts3_tokenizer('x')",
    "select edit('x')",
    "select sha3_query('select 1')",
    "pragma database_list(main)",
    "pragma temp_store_directory = '/x'",
    "pragma main.temp_store_directory('/x')",
    "pragma other.user_version",
    "explain query plan pragma writable_schema = 1",
    "select 1; pragma secure_delete = off",
    "pragma query_only(1)",
    "pragma \"key\" = 'x'",
    "pragma",
    "pragma ;",
    "create virtual table main.z using 'fts4'(a)",
    "create virtual table if not exists z using dbstat",
    "select * from sqlite_stmt",
    "PRAGMA main.'database_list'",
    "explain pragma database_list",
    "select * from main.pragma_database_list",
    "select * from pragma_optimize",
    "select * from main.pragma_optimize(-1)",
    "select 1 in pragma_optimize",
    'select * from t join "Pragma_Optimize"',
    "select * from 'pragma_wal_checkpoint'",
    "create view v as select * from [pragma_optimize]",
    "select * from dbstat",
    "select * from carray(1, 2)",
    "create virtual table f using fts5(a, content='fsdir')",
    "create virtual table f using fts4(a, content = 'sqlite_dbpage')",
    "select sqlite3mc_config('cipher', 'x')",
    "select 1, eval('select 1')",
    "attach 'x' as y",
    " ; /* c */ AtTaCh 'x' as y",
    "explain attach 'x' as y",
    "explain query plan attach 'x' as y",
    "select 1; detach y",
    "vacuum",
    "VACUUM INTO '/tmp/x'",
    "begin; vacuum",
    "select 1\0; vacuum",
]

ALLOWED = [
    "select 1",
    "pragma table_info(t)",
    "pragma main.user_version = 3; select 1",
    "pragma foreign_keys = off",
    "explain pragma journal_mode",
    "select pragma, virtual from t where pragma = 1",
    "create table t(pragma, virtual)",
    "create virtual table r using rtree(a, b, c)",
    "select * from pragma_table_info('t')",
    "select 'pragma_optimize' from t where a = 'pragma_optimize'",
    "select m.name, p.name from sqlite_schema m, pragma_index_list(m.name) p",
    "insert into notes(body) values ('call readfile(''x'') and attach it')",
    "insert into notes(body, more) values ('readfile', 'fsdir')",
    "select * from notes where body in ('readfile', 'vacuum')",
    "select * from notes where body = 'fsdir' or body = 'sqlite_dbpage'",
    "select 'a', 'fsdir' from t order by 'fsdir', 'readfile'",
    "update t set a = 'readfile', b = 'writefile' where c = 'fsdir' returning 'x', 'fsdir'",
    "select f(a, 'fsdir') from t join u on t.a = u.a and g('x', 'fsdir')",
    "select * from t where a in (select b from u) and b in ('x', 'fsdir')",
    "select 1 -- readfile('x')",
    "select 1 /* attach 'x' as y; vacuum */",
    "select edit, eval from t where edit = 1",
    "select database_list, t.database_list from t where a = 'database_list'",
    "create virtual table f using fts5(a, content='notes')",
    "create table edit(id integer primary key, eval text)",
    "insert into edit(id) values (1)",
    "create table if not exists edit (id)",
    "create table t(a references edit(id))",
    "select attach, vacuum, detach from t",
    "alter table t rename column a to attach",
    "insert into t(csv) values ('x')",
    "create table csv(a)",
    "insert into t default values",
    "select readfile_count from t",
    "select x'726561646669' , 'unclosed",
    "",
    ";;",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_refuses_what_reaches_outside(sql: str) -> None:
    with pytest.raises(RefusedSql):
        check_sql(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("begin immediate", True),
        ("/**/BEGIN/**/exclusive transaction", True),
        ("select 1; begin immediate", True),
        ("explain begin immediate", False),
        ("begin", False),
        ("begin; select immediate from t", False),
        ("select 'begin immediate'", False),
        ("begin deferred transaction", False),
    ],
)
def test_tells_who_takes_the_write_lock(sql: str, expected: bool) -> None:
    if expected:
        with pytest.raises(RefusedSql):
            check_reading_sql(sql)
    else:
        check_reading_sql(sql)


@pytest.mark.parametrize("sql", ALLOWED)
def test_lets_names_pass_as_data(sql: str) -> None:
    check_sql(sql)


def test_a_refusal_names_the_word() -> None:
    with pytest.raises(RefusedSql, match="`readfile`"):
        check_sql("select readfile('x')")
    with pytest.raises(RefusedSql, match="ATTACH"):
        check_sql("attach 'x' as y")


@given(st.text(alphabet="a'\"`[]()$:?-/*; \n\ufeff\x0b.,x1", max_size=60))
def test_any_text_is_cut_without_an_error(sql: str) -> None:
    list(tokens(sql))
    check_sql(sql)


@given(st.text(alphabet="ab'\"`[]-/* \n$:(", max_size=12), st.sampled_from(["'", '"', "`", "]", "*/", "\n", ")", ""]))
def test_whatever_stands_before_a_call_that_sqlite_sees_is_seen_here(before: str, closing: str) -> None:
    """SQLite is asked whether the call is code; then the guard must have refused it."""
    sql = f"select 1 {before}{closing}, readfile('x')"
    connection = apsw.Connection(":memory:")
    called: list[str] = []
    connection.create_scalar_function("readfile", lambda *_arguments: called.append("x"))
    with contextlib.suppress(apsw.Error, KeyError, ValueError):
        connection.execute(sql, dict.fromkeys(("a", "b"))).fetchall()
    if called:
        with pytest.raises(RefusedSql):
            check_sql(sql)
