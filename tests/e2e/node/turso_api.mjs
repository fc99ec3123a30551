// Plays a service that provisions with @tursodatabase/api, unmodified, and opens what it made with @libsql/client.
// Arguments: the base URL (ends in /v1/), the organization, a platform token. One JSON report on stdout.
import { createClient as createPlatform } from "@tursodatabase/api";
import { createClient } from "@libsql/client";

const [baseUrl, org, token] = process.argv.slice(2);
const turso = createPlatform({ org, token, baseUrl });
const report = {};
const failing = async (call) => {
  try {
    await call();
    return "no error";
  } catch (error) {
    return { name: error.name, status: error.status, message: error.message };
  }
};

report.valid = (await turso.apiTokens.validate(token)).expiry;
report.locations = (await turso.locations.list()).map((each) => each.code);
report.groups = (await turso.groups.list()).map((each) => each.name);
report.newGroup = (await turso.groups.create("eu", "aws-eu-west-1")).primary;

const made = await turso.databases.create("js-db", { group: "default" });
report.keys = Object.keys(made).sort();
report.same = (await turso.databases.get("js-db")).id === made.id;
report.again = await failing(() => turso.databases.create("js-db", { group: "default" }));
report.absent = await failing(() => turso.databases.get("nobody"));

const { jwt } = await turso.databases.createToken("js-db", { expiration: "1h", authorization: "full-access" });
const open = (hostname, authToken) => createClient({ url: `http://${hostname}`, authToken });
let db = open(made.hostname, jwt);
await db.execute("CREATE TABLE words (word TEXT)");
await db.batch([{ sql: "INSERT INTO words VALUES (?)", args: ["كتاب"] }, "INSERT INTO words VALUES ('pen')"], "write");
const transaction = await db.transaction("write");
await transaction.execute("INSERT INTO words VALUES ('lost')");
await transaction.rollback();
report.words = (await db.execute("SELECT word FROM words ORDER BY rowid")).rows.map((row) => row.word);

const branch = await turso.databases.create("js-branch", { group: "default", seed: { type: "database", name: "js-db" } });
const branchToken = await turso.databases.createToken("js-branch");
const copy = open(branch.hostname, branchToken.jwt);
await copy.execute("DELETE FROM words");
report.branch = (await copy.execute("SELECT count(*) AS n FROM words")).rows[0].n;
report.source = (await db.execute("SELECT count(*) AS n FROM words")).rows[0].n;
report.stranger = (await failing(() => open(branch.hostname, jwt).execute("SELECT 1"))).name;
report.group = (await open(made.hostname, (await turso.groups.createToken("default")).jwt).execute("SELECT 1 AS one")).rows[0].one;
report.listed = (await turso.databases.list({ group: "default" })).map((each) => each.name);
report.instance = (await turso.databases.listInstances("js-db"))[0].type;
report.usage = (await turso.databases.usage("js-db")).usage.rows_written > 0;

// The answer to a rotation is empty, which this client takes for a failure; the tokens are invalid all the same.
await failing(() => turso.databases.rotateTokens("js-db"));
report.rotated = (await failing(() => db.execute("SELECT 1"))).name;
db = open(made.hostname, (await turso.databases.createToken("js-db")).jwt);
report.afterwards = (await db.execute("SELECT count(*) AS n FROM words")).rows[0].n;
report.deleted = (await turso.databases.delete("js-db")).database;
report.gone = (await failing(() => db.execute("SELECT 1"))).name;
console.log(JSON.stringify(report));
