// Prisma's adapter, called as Prisma's client calls it: generating that client downloads an engine from elsewhere.
import { PrismaLibSql } from "@prisma/adapter-libsql";

import { assert, failure, isMistaken, isRefused } from "./expect.mjs";

const query = (sql, args = []) => ({
  sql,
  args,
  argTypes: args.map((each) => ({ arity: "scalar", scalarType: typeof each === "string" ? "string" : "int" })),
});

export async function parts(place) {
  const db = await new PrismaLibSql(place).connect();
  const run = (sql) => db.queryRaw(query(sql));
  return {
    "script, write, read": async () => {
      await db.executeScript("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX by_name ON things (name);");
      assert.equal(await db.executeRaw(query("INSERT INTO things (name) VALUES (?)", ["كتاب"])), 1);
      const found = await db.queryRaw(query("SELECT id, name FROM things WHERE name = ?", ["كتاب"]));
      assert.deepEqual([found.columnNames, found.rows.map(([, name]) => name)], [["id", "name"], ["كتاب"]]);
    },
    "transaction": async () => {
      const undone = await db.startTransaction();
      await undone.executeRaw(query("DELETE FROM things"));
      await undone.rollback();
      const kept = await db.startTransaction("SERIALIZABLE");
      await kept.executeRaw(query("INSERT INTO things (name) VALUES (?)", ["two"]));
      await kept.commit();
      assert.equal((await run("SELECT 1 FROM things")).rows.length, 2);
    },
    "introspect": async () => {
      const listed = await run("SELECT name FROM pragma_table_list WHERE type = 'table' AND name = 'things'");
      assert.equal(listed.rows.length, 1);
      assert.equal((await run('PRAGMA index_info("by_name")')).rows.length, 1);
      assert.equal((await run("SELECT * FROM pragma_foreign_key_list('things')")).rows.length, 0);
    },
    "errors": async () => {
      await isMistaken(run, { code: null });
      await isRefused(run, { code: null });
    },
    "errors: which constraint": async () => {
      const unique = await failure(() => db.executeRaw(query("INSERT INTO things (id) VALUES (1)")));
      assert.equal(unique.cause.kind, "UniqueConstraintViolation");
    },
  };
}
