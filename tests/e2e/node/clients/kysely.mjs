// Kysely on the dialect that libSQL publishes for it, with that one's own @libsql/client.
import { LibsqlDialect } from "@libsql/kysely-libsql";
import { Kysely, Migrator, sql } from "kysely";

import { assert, failure, isMistaken, isRefused } from "./expect.mjs";

const migrations = {
  "1": { up: (db) => db.schema.createTable("pets").addColumn("id", "integer", (c) => c.primaryKey()).execute() },
  "2": { up: (db) => db.schema.alterTable("pets").addColumn("name", "text").execute() },
};

export function parts({ url, authToken }) {
  const db = new Kysely({ dialect: new LibsqlDialect({ url, authToken }) });
  return {
    "migrate": async () => {
      const migrator = new Migrator({ db, provider: { getMigrations: async () => migrations } });
      const { error, results } = await migrator.migrateToLatest();
      if (error) throw error;
      assert.deepEqual(results.map((each) => each.status), ["Success", "Success"]);
    },
    "introspect": async () => {
      const tables = await db.introspection.getTables();
      const pets = tables.find((each) => each.name === "pets");
      assert.deepEqual(pets.columns.map((each) => each.name), ["id", "name"]);
    },
    "write, read": async () => {
      await db.insertInto("pets").values([{ name: "Ada" }, { name: "Bo" }]).execute();
      const made = await db.insertInto("pets").values({ name: "Cy" }).returning("id").executeTakeFirstOrThrow();
      assert.equal(made.id, 3);
      assert.equal((await db.selectFrom("pets").selectAll().where("name", "like", "%o%").execute()).length, 1);
    },
    "transaction": async () => {
      await db.transaction().execute((t) => t.deleteFrom("pets").where("name", "=", "Ada").execute());
      await failure(() =>
        db.transaction().execute(async (t) => {
          await t.deleteFrom("pets").execute();
          throw new Error("undo it");
        }),
      );
      assert.equal((await db.selectFrom("pets").selectAll().execute()).length, 2);
    },
    "errors": async () => {
      const run = (text) => sql.raw(text).execute(db);
      await isMistaken(run);
      await isRefused(run);
    },
  };
}
