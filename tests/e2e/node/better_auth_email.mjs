// Plays an app with better-auth's official client and its plugin for codes, unmodified.
// Argument 1 is the service's URL, 2 its outbox; one JSON report on stdout.
import { readFileSync } from "node:fs";
import { createAuthClient } from "better-auth/client";
import { emailOTPClient, inferAdditionalFields } from "better-auth/client/plugins";

const [baseURL, outbox] = process.argv.slice(2);
const report = {};

// What a browser does: keeps cookies, sends its page's origin.
function browser(language = "en") {
  const jar = new Map();
  const customFetchImpl = async (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("origin", baseURL);
    headers.set("accept-language", language);
    if (jar.size) headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const reply = await fetch(url, { ...init, headers, redirect: "manual" });
    for (const cookie of reply.headers.getSetCookie()) {
      const [pair] = cookie.split(";");
      const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
      if (value) jar.set(name, value);
      else jar.delete(name);
    }
    return reply;
  };
  const client = createAuthClient({
    baseURL,
    plugins: [emailOTPClient(), inferAdditionalFields({})],
    fetchOptions: { customFetchImpl },
  });
  return { client, follow: (url) => customFetchImpl(url) };
}

function newest(to) {
  const mails = readFileSync(outbox, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return mails.filter((mail) => mail.to === to).at(-1);
}
const code = (to) => newest(to).text.match(/^\d{6}$/m)[0];
const link = (to) => newest(to).text.match(/^http\S+$/m)[0];
const ok = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify(error));
  return data;
};
const refused = ({ error }) => [error?.status, error?.code ?? error?.message];

// Somebody new signs in with a code.
{
  const { client } = browser("km-KH, en;q=0.5");
  const email = "js-otp@example.com";
  report.sent = ok(await client.emailOtp.sendVerificationOtp({ email, type: "sign-in" }));
  report.khmer = /[\u1780-\u17ff]/.test(newest(email).subject);
  report.wrong = refused(await client.signIn.emailOtp({ email, otp: "x" }));
  report.checked = refused(await client.emailOtp.checkVerificationOtp({ email, type: "sign-in", otp: code(email) }));
  const signedIn = ok(await client.signIn.emailOtp({ email, otp: code(email), name: "Sokha" }));
  report.signedIn = [signedIn.user.email, signedIn.user.emailVerified, signedIn.user.name];
  report.session = ok(await client.getSession()).user.email;
  report.used = refused(await client.signIn.emailOtp({ email, otp: code(email) }));
  report.updated = ok(await client.updateUser({ name: "សុខា", image: "https://img.example/a.png" }));
  const user = ok(await client.getSession()).user;
  report.user = [user.name, user.image, user.createdAt instanceof Date];
}

// Somebody with a password: verifies, changes the address, forgets the password.
{
  const { client, follow } = browser("ar");
  const email = "js-password@example.com";
  ok(await client.signUp.email({ name: "Ada", email, password: "correct-horse-1" }));
  report.verification = ok(await client.sendVerificationEmail({ email, callbackURL: "/done" }));
  report.arabic = /[\u0600-\u06ff]/.test(newest(email).subject);
  const hop = await follow(link(email));
  report.verified = [hop.status, hop.headers.get("location"), ok(await client.getSession()).user.emailVerified];

  const moved = "js-moved@example.com";
  ok(await client.changeEmail({ newEmail: moved, callbackURL: "/moved" }));
  const there = await follow(link(moved));
  report.moved = [there.status, there.headers.get("location"), ok(await client.getSession()).user.email];

  const again = "js-moved-again@example.com";
  ok(await client.emailOtp.requestEmailChange({ newEmail: again }));
  ok(await client.emailOtp.changeEmail({ newEmail: again, otp: code(again) }));
  report.movedByCode = ok(await client.getSession()).user.email;

  ok(await client.requestPasswordReset({ email: again, redirectTo: "/reset" }));
  const page = await follow(link(again));
  const token = new URL(page.headers.get("location")).searchParams.get("token");
  report.page = new URL(page.headers.get("location")).pathname;
  report.reset = ok(await client.resetPassword({ newPassword: "by-link-pass-1", token }));
  report.resetAgain = refused(await client.resetPassword({ newPassword: "by-link-pass-2", token }));

  ok(await client.emailOtp.requestPasswordReset({ email: again }));
  report.resetByCode = ok(
    await client.emailOtp.resetPassword({ email: again, otp: code(again), password: "by-code-pass-1" }),
  );
  report.oldPassword = refused(await client.signIn.email({ email: again, password: "by-link-pass-1" }));
  report.newPassword = ok(await client.signIn.email({ email: again, password: "by-code-pass-1" })).user.email;

  ok(await client.emailOtp.sendVerificationOtp({ email: again, type: "email-verification" }));
  report.verifiedByCode = ok(await client.emailOtp.verifyEmail({ email: again, otp: code(again) })).status;
}

// Somebody on two devices.
{
  const one = browser().client;
  const two = browser().client;
  const email = "js-devices@example.com";
  ok(await one.signUp.email({ name: "Ada", email, password: "correct-horse-1" }));
  ok(await two.signIn.email({ email, password: "correct-horse-1" }));
  const sessions = ok(await one.listSessions());
  report.sessions = [sessions.length, sessions.every((session) => session.expiresAt instanceof Date)];
  const other = ok(await two.getSession()).session.token;
  report.revoked = ok(await one.revokeSession({ token: other }));
  report.ended = ok(await two.getSession());

  ok(await two.signIn.email({ email, password: "correct-horse-1" }));
  ok(await one.revokeOtherSessions());
  report.endedToo = [ok(await two.getSession()), ok(await one.getSession()).user.email];

  ok(await two.signIn.email({ email, password: "correct-horse-1" }));
  const changed = ok(
    await one.changePassword({
      currentPassword: "correct-horse-1",
      newPassword: "changed-pass-1",
      revokeOtherSessions: true,
    }),
  );
  report.changed = [typeof changed.token, ok(await two.getSession()), ok(await one.getSession()).user.email];
  report.accounts = ok(await one.listAccounts()).map((account) => [account.providerId, account.scopes]);

  report.notDeleted = refused(await one.deleteUser({ password: "wrong-password" }));
  report.deleted = ok(await one.deleteUser({ password: "changed-pass-1" }));
  report.gone = [
    ok(await one.getSession()),
    refused(await two.signIn.email({ email, password: "changed-pass-1" })),
  ];
  report.revokeAll = refused(await one.revokeSessions());
}

// Nobody.
{
  const { client } = browser();
  const email = "js-nobody@example.com";
  report.nobody = [
    ok(await client.requestPasswordReset({ email, redirectTo: "/reset" })).status,
    ok(await client.emailOtp.requestPasswordReset({ email })).success,
    newest(email) ?? null,
  ];
  report.stranger = refused(await client.requestPasswordReset({ email, redirectTo: "https://evil.example" }));
}

console.log(JSON.stringify(report));
