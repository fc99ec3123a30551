"""What nothing interrupts on sqld is refused where the text says how large its values are."""

import pytest

from freehold.libsql.guard import RefusedSql
from freehold.providers.sqld.sizes import check_sizes

SIZES = {
    "select instr(hex(zeroblob(900000)), hex(zeroblob(450000)) || '1')": False,
    "select replace(hex(randomblob(1000000)), '0', 'x')": False,
    "SELECT Json_Patch(json_array(\"ZeroBlob\"(2000000)), '{}')": False,
    "select printf('%2000000d', 1) like '%1%1%1' , zeroblob(200000)": False,
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
