// What better-auth's own helper reads from a request's cookies: `node cookie_cache.mjs SECRET STRATEGY COOKIES`.
import { getCookieCache } from "better-auth/cookies";

const [secret, strategy, cookie] = process.argv.slice(2);
const found = await getCookieCache(new Headers({ cookie }), { secret, strategy, isSecure: false });
console.log(JSON.stringify(found));
