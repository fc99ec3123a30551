// A story told by better-auth's official client with its JWT and API key plugins. Argument: the service's address.
// Prints what each step gave as one JSON object.
import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";
import { apiKeyClient } from "@better-auth/api-key/client";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url] = process.argv.slice(2);
const jar = new Map();
let lastHeaders = new Headers();

// A browser keeps cookies and names its page; Node's fetch does neither.
async function fetchWithCookies(input, init = {}) {
  const headers = new Headers(init.headers);
  headers.set("origin", url);
  if (jar.size) headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
  const reply = await fetch(input, { ...init, headers });
  lastHeaders = reply.headers;
  for (const cookie of reply.headers.getSetCookie()) {
    const [pair, ...attributes] = cookie.split("; ");
    const at = pair.indexOf("=");
    if (attributes.includes("Max-Age=0")) jar.delete(pair.slice(0, at));
    else jar.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return reply;
}
const client = createAuthClient({
  baseURL: url,
  plugins: [jwtClient(), apiKeyClient()],
  fetchOptions: { customFetchImpl: fetchWithCookies },
});

const told = {};
async function step(name, promise) {
  const { data, error } = await promise;
  told[name] = error ? { status: error.status, code: error.code } : data;
  return data;
}

await step("signUp", client.signUp.email({ name: "Ada", email: "ada@example.com", password: "correct-horse-1" }));

// Another service checks a JWT with nothing but our address.
const keys = createRemoteJWKSet(new URL(`${url}/api/auth/jwks`));
const { token } = await step("token", client.token());
const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer: url, audience: url });
told.claims = payload;
told.header = protectedHeader;
await step("jwks", client.jwks());
await step("session", client.getSession());
const fromHeader = lastHeaders.get("set-auth-jwt");
told.sameUserInHeader = (await jwtVerify(fromHeader, keys, { issuer: url, audience: url })).payload.sub;
told.exposed = lastHeaders.get("access-control-expose-headers");

const made = await step("create", client.apiKey.create({ name: "ci", prefix: "app_", expiresIn: 172800, metadata: { team: "a" } }));
await step("createAgain", client.apiKey.create({}));
await step("serverOnly", client.apiKey.create({ permissions: { databases: ["write"] } }));
await step("list", client.apiKey.list());
await step("page", client.apiKey.list({ query: { limit: 1, offset: 1, sortBy: "createdAt", sortDirection: "desc" } }));
await step("get", client.apiKey.get({ query: { id: made.id } }));
await step("update", client.apiKey.update({ keyId: made.id, name: "renamed" }));

// A script has the key and no session.
const script = createAuthClient({ baseURL: url, fetchOptions: { headers: { "x-api-key": made.key } } });
await step("keySession", script.getSession());
await step("keyNoSessions", script.listSessions());
const database = await fetch(`${url}/databases/user`, { headers: { "x-api-key": made.key } });
told.keyDatabase = [database.status, (await database.json()).access_level];

await step("disable", client.apiKey.update({ keyId: made.id, enabled: false }));
await step("keyDisabled", script.getSession());
await step("delete", client.apiKey.delete({ keyId: made.id }));
await step("keyGone", script.getSession());
await step("deleteAgain", client.apiKey.delete({ keyId: made.id }));

await step("signOut", client.signOut());
await step("noToken", client.token());
await step("noKeys", client.apiKey.list());
console.log(JSON.stringify(told));
