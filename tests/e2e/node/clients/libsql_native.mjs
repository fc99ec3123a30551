// `libsql` of npm, the native library, on a remote database.
import Database from "libsql/promise";

import { assert, failure, isMistaken, isRefused } from "./expect.mjs";

export function parts({ url, authToken }) {
  const db = new Database(url, { authToken });
  const run = async (sql) => (await db.prepare(sql)).all();
  return {
    "create, write, read": async () => {
      await db.exec("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, half REAL)");
      await (await db.prepare("INSERT INTO things (id, name, half) VALUES (?, ?, ?)")).run(7, "كتاب", 0.5);
      const one = await (await db.prepare("SELECT * FROM things WHERE name = ?")).get("كتاب");
      assert.deepEqual([one.id, one.name, one.half], [7, "كتاب", 0.5]);
    },
    "transaction": async () => {
      // Its `transaction(fn)` commits before an asynchronous `fn` has ended.
      const insert = await db.prepare("INSERT INTO things (name) VALUES (?)");
      await db.exec("BEGIN");
      await insert.run("kept");
      await db.exec("COMMIT");
      await db.exec("BEGIN");
      await insert.run("undone");
      await failure(() => insert.run("kept"));
      await db.exec("ROLLBACK");
      assert.equal((await run("SELECT 1 FROM things")).length, 2);
    },
    "errors": async () => {
      await isMistaken(run, { code: null });
      await isRefused(run, { code: null });
    },
  };
}
