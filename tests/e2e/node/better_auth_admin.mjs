// A story told by better-auth's official client and its admin plugin. Argument: the service's address, and the
// administrator's address and password. Prints what each step gave as one JSON object.
import { createAuthClient } from "better-auth/client";
import { adminClient } from "better-auth/client/plugins";

const [url, email, password] = process.argv.slice(2);

// A browser keeps cookies and names its page; Node's fetch does neither.
function browser() {
  const jar = new Map();
  async function fetchWithCookies(input, init = {}) {
    const headers = new Headers(init.headers);
    headers.set("origin", url);
    if (jar.size) headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const reply = await fetch(input, { ...init, headers });
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
    plugins: [adminClient()],
    fetchOptions: { customFetchImpl: fetchWithCookies },
  });
  return { client, jar };
}

const told = {};
async function step(name, promise) {
  const { data, error } = await promise;
  told[name] = error ? { status: error.status, code: error.code, message: error.message } : data;
  return data;
}

const { client: admin, jar } = browser();
await step("signIn", admin.signIn.email({ email, password }));
const made = await step("createUser", admin.admin.createUser({
  name: "Made", email: "Made@example.com", password: "correct-horse-1", role: "user", data: { image: "http://i.example/1" },
}));
const userId = made.user.id;
await step("duplicate", admin.admin.createUser({ name: "Made", email: "made@example.com", password: "correct-horse-1" }));
await step("listUsers", admin.admin.listUsers({ query: { searchValue: "made@", searchField: "email", searchOperator: "starts_with", limit: 10 } }));
await step("getUser", admin.admin.getUser({ query: { id: userId } }));
await step("updateUser", admin.admin.updateUser({ userId, data: { name: "Renamed" } }));
await step("setRole", admin.admin.setRole({ userId, role: ["user", "editor"] }));
await step("setPassword", admin.admin.setUserPassword({ userId, newPassword: "another-pass-1" }));

const { client: user } = browser();
await step("oldPassword", user.signIn.email({ email: "made@example.com", password: "correct-horse-1" }));
await step("newPassword", user.signIn.email({ email: "made@example.com", password: "another-pass-1" }));
await step("forbidden", user.admin.listUsers({ query: {} }));
await step("mayNot", user.admin.hasPermission({ permissions: { user: ["list"] } }));
await step("may", admin.admin.hasPermission({ permissions: { user: ["list", "ban"], session: ["revoke"] } }));

const { sessions } = await step("sessions", admin.admin.listUserSessions({ userId }));
await step("revokeSession", admin.admin.revokeUserSession({ sessionToken: sessions[0].token }));
await step("sessionAfterRevoke", user.getSession());
await user.signIn.email({ email: "made@example.com", password: "another-pass-1" });
await step("revokeSessions", admin.admin.revokeUserSessions({ userId }));
await step("sessionAfterRevokeAll", user.getSession());

await step("ban", admin.admin.banUser({ userId, banReason: "spam", banExpiresIn: 3600 }));
await step("bannedSignIn", user.signIn.email({ email: "made@example.com", password: "another-pass-1" }));
await step("unban", admin.admin.unbanUser({ userId }));
await step("impersonate", admin.admin.impersonateUser({ userId }));
await step("sessionAsOther", admin.getSession());
told.cookiesAsOther = [...jar.keys()].sort();
await step("notAdminNow", admin.admin.listUsers({ query: {} }));
await step("stop", admin.admin.stopImpersonating());
await step("sessionAsSelf", admin.getSession());
told.cookiesAsSelf = [...jar.keys()].sort();
await step("removeUser", admin.admin.removeUser({ userId }));
await step("goneUser", admin.admin.getUser({ query: { id: userId } }));
console.log(JSON.stringify(told));
