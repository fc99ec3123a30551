// Plays an app that tries to change its schema with @libsql/client, unmodified: argument 1 is the database URL, 2 a token;
// one JSON report on stdout: what it was told, way by way.
import { createClient } from "@libsql/client";

const [url, authToken] = process.argv.slice(2);
const db = createClient({ url, authToken });
const table = "CREATE TABLE js_things (id INTEGER PRIMARY KEY)";
const insert =
  "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at) VALUES ('js-1', 'x', 'y', 'noun', 1, 1)";
const ways = {
  execute: () => db.execute(table),
  batch: () => db.batch([insert, table], "write"),
  transaction: async () => {
    const transaction = await db.transaction("write");
    try {
      await transaction.execute(insert);
      await transaction.execute(table);
      await transaction.commit();
    } finally {
      transaction.close();
    }
  },
  executeMultiple: () => db.executeMultiple(`${insert}; ${table};`),
  migrate: () => db.migrate([table]),
};
const report = {};
for (const [way, run] of Object.entries(ways)) {
  try {
    await run();
    report[way] = { code: "it ran", message: "" };
  } catch (error) {
    report[way] = { code: error.code, message: error.message };
  }
}
await db.execute("DELETE FROM dictionary_entries");
await db.execute(insert);
report.rows = (await db.execute("SELECT id FROM dictionary_entries")).rows.map((row) => row.id);
db.close();
const stranger = createClient({ url, authToken: `${authToken.slice(0, -4)}AAAA` });
try {
  await stranger.execute("SELECT 1");
  report.stranger = "came in";
} catch (error) {
  report.stranger = error.code;
}
console.log(JSON.stringify(report));
