// What @libsql/client can do, whichever of its builds it is.
import { BIG, assert, failure, isMistaken, isRefused } from "./expect.mjs";

export function common(db) {
  const count = async () => Number((await db.execute("SELECT count(*) AS n FROM things")).rows[0].n);
  return {
    "create, write, read every type": async () => {
      await db.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, half REAL, body BLOB, absent)");
      const made = await db.execute({
        sql: "INSERT INTO things (name, half, body, absent, id) VALUES (:name, :half, :body, :absent, :id)",
        args: { name: "كتاب", half: 0.5, body: new Uint8Array([0, 255, 7]), absent: null, id: BIG },
      });
      assert.equal(made.rowsAffected, 1);
      assert.equal(made.lastInsertRowid, BIG);
      const [row] = (await db.execute({ sql: "SELECT * FROM things WHERE id = ?", args: [BIG] })).rows;
      assert.deepEqual([row.id, row.name, row.half, row.absent], [BIG, "كتاب", 0.5, null]);
      assert.deepEqual([...new Uint8Array(row.body)], [0, 255, 7]);
    },
    "batch, all or nothing": async () => {
      const before = await count();
      await db.batch([{ sql: "INSERT INTO things (name) VALUES (?)", args: ["one"] }, "SELECT 1"], "write");
      const error = await failure(() =>
        db.batch(["INSERT INTO things (name) VALUES ('two')", "INSERT INTO things (name) VALUES ('one')"], "write"),
      );
      assert.equal(error.code, "SQLITE_CONSTRAINT");
      assert.equal(await count(), before + 1);
      assert.equal((await db.batch(["SELECT 1", "SELECT 2"], "read")).length, 2);
    },
    "transaction": async () => {
      const before = await count();
      const undone = await db.transaction("write");
      await undone.execute("INSERT INTO things (name) VALUES ('undone')");
      await undone.rollback();
      const kept = await db.transaction("write");
      await kept.batch(["INSERT INTO things (name) VALUES ('kept')"]);
      await isMistaken((sql) => kept.execute(sql));
      await kept.commit();
      const reading = await db.transaction("read");
      assert.equal((await reading.execute("SELECT 1 AS one")).rows[0].one, 1n);
      reading.close();
      assert.equal(await count(), before + 1);
    },
    "several statements, migrate": async () => {
      await db.executeMultiple("CREATE TABLE many (a); INSERT INTO many VALUES (1); INSERT INTO many VALUES (2);");
      await db.migrate([
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE children (parent REFERENCES parents)",
      ]);
      assert.equal((await db.execute("PRAGMA foreign_key_list(children)")).rows.length, 1);
    },
    "errors": async () => {
      await isMistaken((sql) => db.execute(sql));
      await isRefused((sql) => db.execute(sql));
      await isRefused((sql) => db.batch([sql], "write"));
    },
    "libSQL's own SQL: ALTER COLUMN … TO": async () => {
      await db.execute("CREATE TABLE altered (a TEXT)");
      await db.execute("ALTER TABLE altered ALTER COLUMN a TO a TEXT CHECK (length(a) < 9)");
      await failure(() => db.execute("INSERT INTO altered VALUES ('0123456789')"));
    },
    "libSQL's own SQL: vectors": async () => {
      const found = await db.execute("SELECT vector_extract(vector32('[1, 2]')) AS v");
      assert.equal(found.rows[0].v, "[1,2]");
    },
  };
}
