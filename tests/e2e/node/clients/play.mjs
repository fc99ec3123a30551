// Plays apps with the official clients, unmodified. Standard input says which, and where: {client: {url, authToken}}.
// Standard output is one JSON object: {client: {what is tried: null, or why it does not work}}.
import { text } from "node:stream/consumers";

const LIMIT_MS = 30_000;

async function tried(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no end after ${LIMIT_MS} ms`)), LIMIT_MS);
  });
  try {
    await Promise.race([work(), late]);
    return null;
  } catch (error) {
    const causes = [];
    for (let each = error; each !== undefined && each !== null && causes.length < 4; each = each.cause) {
      const code = each.code ?? each.name;
      causes.push(`${code === undefined ? "" : `${code}: `}${each.message ?? JSON.stringify(each)}`);
    }
    return causes.join(" <- ");
  } finally {
    clearTimeout(timer);
  }
}

const report = {};
for (const [client, place] of Object.entries(JSON.parse(await text(process.stdin)))) {
  const { parts } = await import(`./${client}.mjs`);
  report[client] = {};
  for (const [what, work] of Object.entries(await parts(place))) {
    report[client][what] = await tried(work);
  }
}
console.log(JSON.stringify(report));
process.exit(0);
