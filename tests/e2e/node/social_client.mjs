// better-auth's official client, unmodified, in Node: where it is sent to, and its life as a guest.
// Arguments: the service's URL, a provider. Prints one JSON object.
import { createAuthClient } from "better-auth/client";
import { anonymousClient } from "better-auth/client/plugins";

const [, , baseURL, provider] = process.argv;
let cookies = {};
const client = createAuthClient({
  baseURL,
  plugins: [anonymousClient()],
  fetchOptions: {
    headers: { origin: baseURL },
    onRequest: (context) => {
      context.headers.set("cookie", Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; "));
      return context;
    },
    onResponse: ({ response }) => {
      for (const cookie of response.headers.getSetCookie()) {
        const [name, value] = cookie.split(";")[0].split("=");
        if (value) cookies[name] = value;
        else delete cookies[name];
      }
    },
  },
});
const must = ({ data, error }) => {
  if (error) throw new Error(JSON.stringify(error));
  return data;
};

const guest = must(await client.signIn.anonymous());
const again = await client.signIn.anonymous();
const session = must(await client.getSession());
const social = must(await client.signIn.social({ provider, callbackURL: "/dash", disableRedirect: true }));
const unknown = await client.signIn.social({ provider: "nope", callbackURL: "/dash" });
const linking = must(await client.linkSocial({ provider, callbackURL: "/dash", disableRedirect: true }));
const accounts = must(await client.listAccounts());
const deleted = must(await client.deleteAnonymousUser());
const after = must(await client.getSession());
console.log(JSON.stringify({
  guest: { id: guest.user.id, isAnonymous: session.user.isAnonymous, same: session.user.id === guest.user.id },
  again: again.error.code, social, unknown: unknown.error.code, linking, accounts, deleted, after,
}));
