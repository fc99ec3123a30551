// @libsql/client with `syncUrl`: an embedded replica, a file that follows the database.
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createClient } from "@libsql/client";

import { assert } from "./expect.mjs";

export async function parts({ url, authToken }) {
  const remote = createClient({ url, authToken });
  const file = join(await mkdtemp(join(tmpdir(), "replica-")), "replica.db");
  return {
    "sync, read, write through": async () => {
      await remote.batch(["CREATE TABLE things (name)", "INSERT INTO things VALUES ('there')"], "write");
      const replica = createClient({ url: `file:${file}`, syncUrl: url, authToken });
      await replica.sync();
      assert.equal((await replica.execute("SELECT name FROM things")).rows[0].name, "there");
      await replica.execute("INSERT INTO things VALUES ('here')");
      await replica.sync();
      assert.equal((await remote.execute("SELECT count(*) AS n FROM things")).rows[0].n, 2);
      replica.close();
    },
  };
}
