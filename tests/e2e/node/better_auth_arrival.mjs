// A stranger and the owner of an address, both with better-auth's official client, where addresses must be verified.
// Argument 1 is the service's URL, 2 its outbox; one JSON report on stdout.
import { readFileSync } from "node:fs";
import { createAuthClient } from "better-auth/client";
import { emailOTPClient } from "better-auth/client/plugins";

const [baseURL, outbox] = process.argv.slice(2);
const report = {};

function browser() {
  const jar = new Map();
  const customFetchImpl = async (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set("origin", baseURL);
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
  const client = createAuthClient({ baseURL, plugins: [emailOTPClient()], fetchOptions: { customFetchImpl } });
  return { client, follow: (url) => customFetchImpl(url) };
}

const mails = (to) =>
  readFileSync(outbox, "utf8").trim().split("\n").map((line) => JSON.parse(line)).filter((mail) => mail.to === to);
const link = (to) => mails(to).at(-1).text.match(/^http\S+$/m)[0];
const code = (to) => mails(to).at(-1).text.match(/^\d{6}$/m)[0];
const ok = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify(error));
  return data;
};
const outcome = ({ data, error }) => data?.user?.name ?? error.code;
const stranger = { name: "Stranger", password: "the-strangers-pass-1" };
const owner = { name: "Owner", password: "my-own-passphrase-2" };

// The stranger is first; each follows the usual steps of an app.
{
  const email = "arrival-link@example.com";
  const [theirs, own] = [browser(), browser()];
  const answers = [
    ok(await theirs.client.signUp.email({ ...stranger, email })),
    ok(await own.client.signUp.email({ ...owner, email })),
  ];
  report.answers = answers.map(({ token, user }) => [token, Object.keys(user).sort().join()]);
  report.alike = report.answers[0][1] === report.answers[1][1];
  report.before = outcome(await own.client.signIn.email({ email, password: owner.password }));
  await own.follow(link(email));
  report.session = ok(await own.client.getSession()).user.name;
  report.own = outcome(await browser().client.signIn.email({ email, password: owner.password }));
  report.stranger = outcome(await theirs.client.signIn.email({ email, password: stranger.password }));
}

// An app that verifies by code sends along what was typed at sign-up.
{
  const email = "arrival-code@example.com";
  const [theirs, own] = [browser(), browser()];
  ok(await theirs.client.signUp.email({ ...stranger, email }));
  ok(await own.client.signUp.email({ ...owner, email }));
  ok(await own.client.emailOtp.sendVerificationOtp({ email, type: "email-verification" }));
  ok(await own.client.emailOtp.verifyEmail({ email, otp: code(email), password: owner.password }));
  report.byCode = [
    outcome(await own.client.signIn.email({ email, password: owner.password })) !== "INVALID_EMAIL_OR_PASSWORD",
    outcome(await theirs.client.signIn.email({ email, password: stranger.password })),
  ];
}

// And one that asks for the link again at the first sign-in.
{
  const email = "arrival-again@example.com";
  const own = browser();
  ok(await own.client.signUp.email({ ...owner, email }));
  report.refused = outcome(await own.client.signIn.email({ email, password: owner.password }));
  ok(await own.client.sendVerificationEmail({ email, callbackURL: "/in", password: owner.password }));
  const hop = await own.follow(link(email));
  report.hop = [hop.status, hop.headers.get("location")];
  report.again = outcome(await browser().client.signIn.email({ email, password: owner.password }));
}

console.log(JSON.stringify(report));
