// Upstash's REST API before a Redis, on the loopback address only: `node upstash_front.mjs PORT REDIS_PORT`.
import { serve } from "@hono/node-server";
import { createApp } from "@humanwhocodes/upstash-redis-server";

const [port, redisPort] = process.argv.slice(2).map(Number);
const app = createApp({ token: process.env.TOKEN, redisUrl: `redis://127.0.0.1:${redisPort}` });
serve({ fetch: app.fetch, port, hostname: "127.0.0.1" }, () => console.log("listens"));
