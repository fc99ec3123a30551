// Makes a database with the real better-auth package, as an app without Freehold has it: its own tables, users,
// hashes and sessions. Arguments: URL of an empty database (a file, or a libSQL server), its token, the secret.
// Prints who is in there as one JSON object.
import { createClient } from "@libsql/client";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { admin, anonymous } from "better-auth/plugins";
import { SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from "kysely";

const [url, authToken, secret] = process.argv.slice(2);
const client = createClient({ url, authToken: authToken || undefined });

// Kysely on libSQL: the little that better-auth needs of it.
const connection = {
  async executeQuery({ sql, parameters }) {
    const done = await client.execute({ sql, args: parameters });
    const rows = done.rows.map((row) => Object.fromEntries(done.columns.map((name) => [name, row[name]])));
    return { rows, numAffectedRows: BigInt(done.rowsAffected), insertId: done.lastInsertRowid };
  },
  async *streamQuery() {},
};
const nothing = async () => {};
const dialect = {
  createAdapter: () => new SqliteAdapter(),
  createIntrospector: (db) => new SqliteIntrospector(db),
  createQueryCompiler: () => new SqliteQueryCompiler(),
  createDriver: () => ({
    init: nothing, destroy: nothing, releaseConnection: nothing, acquireConnection: async () => connection,
    beginTransaction: nothing, commitTransaction: nothing, rollbackTransaction: nothing,
  }),
};
const options = {
  database: { dialect, type: "sqlite" },
  secret,
  baseURL: "http://127.0.0.1:3000",
  emailAndPassword: { enabled: true },
  plugins: [admin(), anonymous()],
};
const { runMigrations } = await getMigrations(options);
await runMigrations();
const auth = betterAuth(options);

const people = {};
for (const name of ["ada", "grace", "banned", "google", "ended"]) {
  const reply = await auth.api.signUpEmail({
    body: { name, email: `${name}@example.com`, password: `password-of-${name}` }, asResponse: true,
  });
  const { token, user } = await reply.json();
  people[name] = { id: user.id, token, cookie: reply.headers.getSetCookie()[0].split(";")[0] };
}
const { id } = people.google;
const { internalAdapter } = await auth.$context;
await internalAdapter.linkAccount({ userId: id, providerId: "google", accountId: "g-1", accessToken: "secret-of-google", scope: "email" });
await client.execute({ sql: `UPDATE "user" SET banned = 1, "banReason" = 'spam' WHERE id = ?`, args: [people.banned.id] });
await client.execute({ sql: `UPDATE "user" SET role = 'admin', "emailVerified" = 1 WHERE id = ?`, args: [people.grace.id] });
await client.execute({ sql: `UPDATE "session" SET "expiresAt" = '2020-01-01T00:00:00.000Z' WHERE "userId" = ?`, args: [people.ended.id] });
client.close();
console.log(JSON.stringify(people));
