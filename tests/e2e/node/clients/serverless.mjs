// @tursodatabase/serverless: its own interface, with the cursor, and the one that it shares with @libsql/client.
import { connect } from "@tursodatabase/serverless";
import { createClient } from "@tursodatabase/serverless/compat";

import { assert, failure, isMistaken, isRefused } from "./expect.mjs";

export function parts({ url, authToken }) {
  const db = connect({ url, authToken });
  const compat = createClient({ url, authToken });
  return {
    "create, write, read": async () => {
      await db.exec("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, half REAL)");
      const insert = await db.prepare("INSERT INTO things (name, half) VALUES (?, ?)");
      const made = await insert.run(["كتاب", 0.5]);
      assert.equal(Number(made.changes), 1);
      const one = await (await db.prepare("SELECT * FROM things WHERE name = ?")).get(["كتاب"]);
      assert.deepEqual([one.id, one.name, one.half], [1, "كتاب", 0.5]);
      assert.equal((await (await db.prepare("SELECT * FROM things")).all()).length, 1);
    },
    "cursor": async () => {
      const rows = [];
      const many = await db.prepare(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) SELECT x FROM n",
      );
      for await (const row of many.iterate()) rows.push(row);
      assert.equal(rows.length, 5000);
    },
    "batch, transaction": async () => {
      await db.batch(["INSERT INTO things (name) VALUES ('one')", "INSERT INTO things (name) VALUES ('two')"]);
      const adding = db.transaction(async (names) => {
        const insert = await db.prepare("INSERT INTO things (name) VALUES (?)");
        for (const name of names) await insert.run([name]);
      });
      await adding(["three", "four"]);
      await failure(() => adding(["five", "one"]));
      const [{ n }] = await (await db.prepare("SELECT count(*) AS n FROM things")).all();
      assert.equal(n, 5);
    },
    "errors": async () => {
      await isMistaken((sql) => db.exec(sql), { code: null });
      await isMistaken(async (sql) => (await db.prepare(sql)).all(), { code: null });
      await isRefused(async (sql) => (await db.prepare(sql)).all(), { code: null });
      await isRefused((sql) => db.exec(sql), { code: null });
    },
    "as @libsql/client": async () => {
      await compat.execute({ sql: "INSERT INTO things (name) VALUES (?)", args: ["compat"] });
      const found = await compat.batch(["SELECT name FROM things WHERE name = 'compat'"], "read");
      assert.equal(found[0].rows[0].name, "compat");
      await isRefused((sql) => compat.execute(sql), { code: null });
    },
  };
}
