// A real OpenID Connect provider on a free loopback port, with its own pages to sign in and to consent.
// Prints `listening PORT`. Who signs in as NAME is NAME@example.com; the name may begin with
// `unverified-` (the address is not vouched for) or `noemail-` (no address is told).
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const [, , clientId, clientSecret, ...callbacks] = process.argv;
const jwk = (type, options, alg, kid) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), alg, kid, use: "sig",
});

const listener = createServer();
await new Promise((done) => listener.listen(0, "127.0.0.1", done));
const { port } = listener.address();
const issuer = `http://127.0.0.1:${port}`;

const account = (name) => ({
  accountId: name,
  claims: async () => ({
    sub: name,
    name: `Oidc ${name}`,
    picture: `${issuer}/avatar.png`,
    ...(name.startsWith("noemail-") ? {} : {
      email: `${name.replace(/^unverified-/, "")}@example.com`,
      email_verified: !name.startsWith("unverified-"),
    }),
  }),
});

const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    application_type: "native", // RFC 8252: any port of a loopback address
    redirect_uris: callbacks,
  }],
  jwks: { keys: [jwk("rsa", { modulusLength: 2048 }, "RS256", "first"), jwk("ec", { namedCurve: "P-256" }, "ES256", "second")] },
  cookies: { keys: ["of no meaning here"] },
  claims: { email: ["email", "email_verified"], profile: ["name", "picture"], openid: ["sub"] },
  routes: { authorization: "/authorize" },
  pkce: { required: () => true },
  findAccount: async (_context, name) => account(name),
});
listener.on("request", provider.callback());
console.log(`listening ${port}`);
