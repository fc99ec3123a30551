// A client that `openapi-typescript` made from `/schema`, against a running service. The compiler is strict, so what
// stands here is also what the description promises.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

const [url, email, password] = process.argv.slice(2) as [string, string, string];

function known<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`there is no ${what}`);
  return value;
}

const stranger = createClient<paths>({ baseUrl: url });
// Node says of its fetch what a browser says, so that it has to name its page, too.
const page = createClient<paths>({ baseUrl: url, headers: { Origin: url } });

const signedUp = await page.POST("/api/auth/sign-up/email", { body: { name: "Ada", email, password } });
const token: string = known(signedUp.data, "user").token ?? "";
const ada = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

const session = await ada.GET("/api/auth/get-session");
const userId: string = known(session.data ?? undefined, "session").user.id;

let database: components["schemas"]["DatabaseCredentials"] | undefined;
for (let tries = 0; database === undefined && tries < 100; tries++) {
  const { data, error, response } = await ada.GET("/databases/user", { params: { query: { access_level: "rows" } } });
  if (error !== undefined) throw new Error(error.detail);
  if ("access_token" in data) database = data;
  else await new Promise((wake) => setTimeout(wake, Number(response.headers.get("Retry-After") ?? 1) * 100));
}
const { db_name: name, access_token } = known(database, "database");

const owner = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${access_token}` } });
const pipeline = await owner.POST("/db/{name}/v3/pipeline", {
  params: { path: { name } },
  body: {
    requests: [
      { type: "execute", stmt: { sql: "SELECT ? + 1", args: [{ type: "integer", value: "41" }] } },
      { type: "execute", stmt: { sql: "SELECT * FROM nowhere" } },
      { type: "close" },
    ],
  },
});
const [sum, failed] = known(pipeline.data, "answer").results;
const row = sum?.type === "ok" && sum.response.type === "execute" ? sum.response.result.rows?.[0]?.[0] : undefined;

const pulled = await stranger.GET("/migrations", { params: { query: { after: 0 } } });
const registry = known(pulled.data, "registry");
const audit = await ada.GET("/admin/audit");
const nobody = await stranger.GET("/databases/user");
const wrong = await page.POST("/api/auth/sign-in/email", { body: { email, password: "not this one" } });
const hrana = await stranger.POST("/db/{name}/v2/pipeline", { params: { path: { name } }, body: { requests: [] } });

console.log(
  JSON.stringify({
    userId,
    name,
    row: row?.type === "integer" ? row.value : row,
    failed: failed?.type === "error" ? failed.error.message : failed,
    version: registry.version,
    release: registry.release?.text.split("\n")[0],
    forbidden: [audit.response.status, audit.error?.code, audit.error?.title],
    unauthenticated: [nobody.response.status, nobody.error?.code],
    wrong: [wrong.response.status, wrong.error?.code],
    hrana: [hrana.response.status, hrana.error?.code],
  }),
);
