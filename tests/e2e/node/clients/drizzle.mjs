// drizzle-orm on @libsql/client.
import { mkdtemp, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@libsql/client";
import { eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/libsql";
import { migrate } from "drizzle-orm/libsql/migrator";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

import { assert, failure, isMistaken, isRefused } from "./expect.mjs";

const users = sqliteTable("users", { id: integer().primaryKey(), name: text().notNull().unique() });
const posts = sqliteTable("posts", { id: integer().primaryKey(), by: integer().references(() => users.id) });
const schema = {
  users,
  posts,
  usersToPosts: relations(users, ({ many }) => ({ posts: many(posts) })),
  postsToUsers: relations(posts, ({ one }) => ({ author: one(users, { fields: [posts.by], references: [users.id] }) })),
};

/** A folder of migrations as drizzle-kit writes it. */
async function folder() {
  const at = await mkdtemp(join(tmpdir(), "drizzle-"));
  await mkdir(join(at, "meta"));
  const entries = [{ idx: 0, version: "6", when: 1, tag: "0000_first", breakpoints: true }];
  await writeFile(join(at, "meta/_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
  await writeFile(
    join(at, "0000_first.sql"),
    "CREATE TABLE `users` (`id` integer PRIMARY KEY, `name` text NOT NULL UNIQUE);\n--> statement-breakpoint\n" +
      "CREATE TABLE `posts` (`id` integer PRIMARY KEY, `by` integer REFERENCES `users`(`id`));",
  );
  return at;
}

export async function parts(place) {
  const db = drizzle(createClient(place), { schema });
  const migrationsFolder = await folder();
  return {
    "migrate": async () => {
      await migrate(db, { migrationsFolder });
      await migrate(db, { migrationsFolder });
    },
    "write, read, relations": async () => {
      const [ada] = await db.insert(users).values({ name: "Ada" }).returning();
      await db.insert(posts).values([{ by: ada.id }, { by: ada.id }]);
      const [found] = await db.query.users.findMany({ with: { posts: true }, where: eq(users.name, "Ada") });
      assert.equal(found.posts.length, 2);
      await db.insert(users).values({ id: ada.id, name: "Bo" }).onConflictDoUpdate({ target: users.id, set: { name: "Bo" } });
    },
    "batch, transaction": async () => {
      await db.batch([db.insert(users).values({ name: "Cy" }), db.select().from(users)]);
      await failure(() =>
        db.transaction(async (t) => {
          await t.insert(users).values({ name: "Di" });
          t.rollback();
        }),
      );
      await db.transaction(async (t) => {
        await t.insert(users).values({ name: "Ed" });
        await t.transaction(async (inner) => inner.insert(users).values({ name: "Flo" }));
      });
      assert.equal((await db.select().from(users)).length, 4);
    },
    "errors": async () => {
      await isMistaken((text) => db.run(sql.raw(text)));
      await isRefused((text) => db.run(sql.raw(text)));
    },
  };
}
