"""What nothing interrupts on sqld is refused where the text says how large its values are."""

import pytest

from freehold.providers.sqld.checks.sizes import check_sizes, check_values, may_be_unstoppable
from freehold.sql.guard import RefusedSql

SIZES = {
    "select instr(hex(zeroblob(900000)), hex(zeroblob(450000)) || '1')": False,
    "select replace(hex(randomblob(1000000)), '0', 'x')": False,
    "SELECT Json_Patch(json_array(\"ZeroBlob\"(2000000)), '{}')": False,
    "select printf('%2000000d', 1) like '%1%1%1' , zeroblob(200000)": False,
    "select instr(hex(zeroblob(1000*1000)), 'x')": False,
    "select instr(hex(zeroblob(1e6)), 'x')": False,
    "select instr(hex(zeroblob(0xF4240)), 'x')": False,
    "select replace(hex(zeroblob('900000')), '0', 'x')": False,
    "select replace(hex(zeroblob(?)), '0', 'x')": False,
    "select replace(hex(randomblob(n)), '0', 'x') from t": False,
    "select replace(hex(randomblob( /* x */ 1 << 20)), '0', 'x')": False,
    "select instr(hex(randomblob(100000)), 'a')": True,
    "select instr(a, b) from t": True,
    "select replace(a, 'zeroblob', 'printf') from t where id = 123456789": True,
    "select instr(hex(randomblob(16)), 'a')": True,
    "insert into t(id) values (lower(hex(randomblob(16))))": True,
    "select printf('%d', 1000000), format from t": True,
    "select zeroblob(1000000)": True,
}


@pytest.mark.parametrize("sql", SIZES)
def test_large_values_of_a_statements_own_are_not_searched(sql: str) -> None:
    try:
        check_sizes(sql)
    except RefusedSql:
        assert not SIZES[sql]
    else:
        assert SIZES[sql]


@pytest.mark.parametrize(
    ("sql", "expected"),
    {
        "select instr(a, b) from t": True,
        'select "Replace" (a, b, c) from t': True,
        "select printf/* x */('%s', a)": True,
        "select unhex -- x\n(a)": True,
        "select json_patch(a, b)": True,
        "select ltrim(a, b)": True,
        "replace into t values (1)": False,
        "insert or replace into t values (?)": False,
        "select format, instr from t": False,
        "select a like '%x%' from t": False,
    }.items(),
)
def test_it_is_known_which_texts_nothing_may_stop(sql: str, expected: bool) -> None:
    assert may_be_unstoppable(sql) is expected


def test_two_long_values_are_not_compared() -> None:
    check_values("select instr(?, ?)", [8_000_000, 1000])
    check_values("select instr(?, ?)", [100_000, 90_000, 5])
    check_values("insert into t values (?, ?)", [8_000_000, 8_000_000])
    for sql, lengths in (
        ("select instr(?, ?)", [1_000_000, 2, 1_000_000]),
        (f"select instr('{'a' * 1_000_000}', ?)", [1_000_000]),
        (f"select instr('{'a' * 1_000_000}', '{'a' * 500_000}')", []),
    ):
        with pytest.raises(RefusedSql):
            check_values(sql, lengths)
