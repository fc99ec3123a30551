// Plays an app with @libsql/client, unmodified: argument 1 is the database URL, 2 a token; one JSON report on stdout.
import { createClient } from "@libsql/client";

const [url, authToken] = process.argv.slice(2);
const db = createClient({ url, authToken, intMode: "bigint" });
const report = {};

await db.execute({
  sql: "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)",
  args: ["js-1", "كتاب", "book", "noun", 9007199254740993n, 1],
});
const read = await db.execute({ sql: "SELECT * FROM dictionary_entries WHERE id = :id", args: { id: "js-1" } });
report.word = read.rows[0].word;
report.bigint = String(read.rows[0].created_at);

const batch = await db.batch(
  [
    "CREATE TABLE IF NOT EXISTS js_things (id INTEGER PRIMARY KEY, body BLOB, half REAL)",
    { sql: "INSERT INTO js_things (body, half) VALUES (?, ?)", args: [new Uint8Array([0, 255, 7]), 0.5] },
    "SELECT body, half, NULL AS absent FROM js_things",
  ],
  "write",
);
report.blob = [...new Uint8Array(batch[2].rows[0].body)];
report.half = batch[2].rows[0].half;
report.absent = batch[2].rows[0].absent;

const transaction = await db.transaction("write");
await transaction.execute("INSERT INTO js_things (half) VALUES (2.5)");
await transaction.rollback();
const kept = await db.transaction("write");
await kept.execute("INSERT INTO js_things (half) VALUES (3.5)");
await kept.commit();
report.halves = (await db.execute("SELECT half FROM js_things ORDER BY half")).rows.map((row) => row.half);

try {
  await db.batch(["INSERT INTO js_things (half) VALUES (9)", "INSERT INTO no_such_table VALUES (1)"], "write");
} catch (error) {
  report.batchError = { code: error.code, message: error.message };
}
report.afterFailedBatch = String((await db.execute("SELECT count(*) AS n FROM js_things")).rows[0].n);

try {
  await db.execute("INSERT INTO dictionary_entries (id) VALUES ('js-1')");
} catch (error) {
  report.constraint = error.code;
}
await db.executeMultiple("CREATE TABLE IF NOT EXISTS js_many (a); INSERT INTO js_many VALUES (1); INSERT INTO js_many VALUES (2);");
report.many = String((await db.execute("SELECT count(*) AS n FROM js_many")).rows[0].n);
await db.migrate(["CREATE TABLE IF NOT EXISTS js_migrated (a)"]);
report.migrated = (await db.execute("SELECT name FROM sqlite_schema WHERE name = 'js_migrated'")).rows.length;
db.close();

const stranger = createClient({ url, authToken: authToken.slice(0, -4) + "AAAA" });
try {
  await stranger.execute("SELECT 1");
  report.stranger = "came in";
} catch (error) {
  report.stranger = `${error.code}`;
}
console.log(JSON.stringify(report));
