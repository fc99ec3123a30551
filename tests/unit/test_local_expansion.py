"""Statements that grow beyond bounds while an engine prepares them are refused by their text; others are not."""

import pytest

from freehold.sql.guard import MAX_LENGTH, RefusedSql, check_sql
from freehold.sql.tokens import MAX_TOKENS


def doubling(levels: int, first: str, each: str) -> str:
    """Common table expressions c0, c1, ...; in `each`, `{c}` is the one before."""
    parts = [f"c0 as ({first})", *(f"c{i} as ({each.format(c=f'c{i - 1}')})" for i in range(1, levels))]
    return f"with {', '.join(parts)} select x from c{levels - 1}"


def nested(levels: int, columns: str, table: str = "t") -> str:
    return f"select x from {f'(select {columns} as x from ' * levels}{table}{')' * levels}"


REFUSED = {
    "a join of two": doubling(18, "select 1 x", "select a.x from {c} a, {c} b"),
    "a union of two": doubling(18, "select 1 x", "select x from {c} union all select x from {c}"),
    "scalar queries": doubling(18, "select 1 x", "select (select x from {c}) + (select x from {c}) x"),
    "in conditions": doubling(18, "select 1 x", "select 1 x where 1 in {c} and 2 in {c}"),
    "with a schema": doubling(18, "select 1 x", "select 1 x from main.{c} a join \"{c}\" b on 1"),
    "in other cases": doubling(18, "select 1 x", "select 1 x from {c} as a cross join [{c}]").upper(),
    "as strings": doubling(18, "select 1 x", "select 1 x from '{c}' a, '{c}' b"),
    "with comments": doubling(18, "select 1 x", "select 1 x from/**/{c}/**/a,/**/{c}--\n b"),
    "in parentheses": doubling(18, "select 1 x", "select 1 x from ({c} a, ({c} b))"),
    "after IS DISTINCT FROM": doubling(18, "select 1 x", "select x is distinct from x from {c} a, {c} b"),
    "after an alias named as a keyword": doubling(18, "select 1 x", "select 1 x from {c} window, {c} with"),
    "not materialized": doubling(18, "select 1 x", "select x from {c} a, {c} b").replace(
        "as (", "as not materialized ("
    ),
    "with columns named": doubling(18, "select 1 x", "select x from {c} a, {c} b").replace(" as (", "(x) as ("),
    "names of a later one": "with a as (select 1 x from b, b b2), b as (select 1 from c, c c2), "
    + ", ".join(f"{p} as (select 1 from {q}, {q} q2)" for p, q in zip("cdefghijkl", "defghijklm", strict=True))
    + ", m as (select 1) select * from a",
    "columns that double": doubling(24, "select x from t", "select x + x as x from {c}"),
    "columns by other names": doubling(24, "select x from t", "select c.x || c.x as x from {c} c"),
    "columns of nested queries": nested(14, "x + x + x + x"),
    "a nested WITH that cuts a query in two": nested(14, "x + x + (with q as (select 1) select 1) + x + x"),
    "in an INSERT": "insert into t " + doubling(18, "select 1 x", "select a.x from {c} a, {c} b"),
    "in a view": "create view v as " + doubling(18, "select 1 x", "select a.x from {c} a, {c} b"),
    "in a trigger": "create trigger g after insert on t begin insert into t "
    + doubling(18, "select 1 x", "select a.x from {c} a, {c} b")
    + "; end",
    "explained": "explain " + doubling(18, "select 1 x", "select a.x from {c} a, {c} b"),
    "after another statement": "select 1; " + doubling(18, "select 1 x", "select a.x from {c} a, {c} b"),
    "parentheses": "select " + "(" * 300 + "1" + ")" * 300,
    "too long": "select '" + "x" * MAX_LENGTH + "'",
    "too many words": "select 1 as pragma" + ",1" * MAX_TOKENS,
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_grows_beyond_bounds_is_refused(name: str) -> None:
    with pytest.raises(RefusedSql):
        check_sql(REFUSED[name])


REPORT = """
with totals as (select id, sum(amount) as amount, count(*) as n from orders group by id),
  ranked as (select t.id, t.amount, rank() over (order by t.amount desc) as place
             from totals t join users u on u.id = t.id where u.active and t.id not in (select id from banned)),
  best as (select r.id, r.amount, r.place, case when r.amount > 100 then 'gold' when r.amount > 10 then 'silver'
           else 'none' end as kind from ranked r where r.place <= 100),
  months as (select id, kind, sum(case when month = 1 then amount end) as m1,
             sum(case when month = 2 then amount end) as m2, sum(case when month = 3 then amount end) as m3
             from best join dates on dates.user_id = best.id group by id, kind)
select b.id, b.kind, m.m1, m.m2, m.m3, coalesce(m.m1, 0) + coalesce(m.m2, 0) + coalesce(m.m3, 0) as total
from best b left join months m on m.id = b.id and m.kind = b.kind order by total desc, b.id limit 50
"""
ALLOWED = {
    "a report": REPORT,
    "a recursion": "with recursive c(n) as (select 1 union all select n + 1 from c where n < 10) select n from c",
    "a few levels of two": doubling(6, "select 1 x", "select a.x from {c} a, {c} b"),
    "a long chain": doubling(60, "select 1 x", "select x from {c}"),
    "nested queries": nested(20, "x"),
    "many columns": "select " + ", ".join(f"t.c{i} as d{i}" for i in range(500)) + " from t where t.c1 = t.c2",
    "a long list": "select * from t where id in (" + ", ".join(map(str, range(5000))) + ")",
    "a compound of many": " union all ".join(f"select {i} as id, 'x' as name" for i in range(400)),
    "many rows": "insert into t values " + ", ".join(f"({i}, 'select from with', null)" for i in range(20_000)),
    "a word inside a word": "select credit, predetach, vacuumed from pragmas where edited = 1",
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_what_does_not_is_allowed(name: str) -> None:
    check_sql(ALLOWED[name])


SEARCHES = {
    "select * from vector_top_k('i', vector('[1]'), 10)": True,
    "select id from vector_top_k('i', vector32(?), ?) join t on t.rowid = id": True,
    "select 1 from vector_top_k('i', :v, 100000) a, vector_top_k('i', :v, 3) b": True,
    "select * from vector_top_k('i', vector('[1]'), 1000000000)": False,
    "select * from vector_top_k('i', vector('[1]'), 1e9)": False,
    "select * from vector_top_k('i', vector('[1]'), 10 * 100000000)": False,
    "select * from vector_top_k('i', vector('[1]'), 0x7fffffff)": False,
    "select * from \"Vector_Top_K\"('i', vector('[1]'), 2000000000)": False,
    "select * from vector_top_k where idx = 'i' and vector = vector('[1]') and k = 1000000000": False,
    "select * from vector_top_k('i', vector('[1]')) where \"K\" = 1000000000": False,
    "select * from (select 1000000000 as k) natural join vector_top_k('i', vector('[1]'))": False,
    "create view v as select * from vector_top_k('i', x'00', (select 1000000000))": False,
    "create index i on t(libsql_vector_idx(e, 'metric=cosine', 'max_neighbors=20'))": True,
    "create index i on t(libsql_vector_idx(e, 'search_l=1000000000'))": False,
    "create index i on t(\"libsql_vector_idx\"(e, 'insert_l=0x7fffffff'))": False,
}


@pytest.mark.parametrize("sql", SEARCHES)
def test_vector_searches_ask_for_bounded_numbers(sql: str) -> None:
    try:
        check_sql(sql)
    except RefusedSql:
        assert not SEARCHES[sql]
    else:
        assert SEARCHES[sql]
