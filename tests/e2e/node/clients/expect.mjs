// What every client here is held to.
import assert from "node:assert/strict";

export const BIG = 9007199254740993n;
export const REFUSED = "SELECT readfile('/etc/passwd')";
export const MISSING = "SELECT * FROM no_such_table";

/** The error that `work` ends with; it must end with one. */
export async function failure(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("it ran, and should not have");
}

/** One statement is refused, with its reason and code, and those after it run. */
export async function isRefused(run, { code = "SQLITE_AUTH" } = {}) {
  const error = await failure(() => run(REFUSED));
  assert.match(told(error), /`readfile` is not allowed/);
  if (code !== null) assert.ok(codes(error).includes(code), `${codes(error)}: ${told(error)}`);
  await run("SELECT 1");
}

/** A mistake in SQL has SQLite's code and message. */
export async function isMistaken(run, { code = "SQLITE_ERROR" } = {}) {
  const error = await failure(() => run(MISSING));
  assert.match(told(error), /no such table: no_such_table/);
  if (code !== null) assert.ok(codes(error).includes(code), `${codes(error)}: ${told(error)}`);
}

function chain(error) {
  const found = [];
  for (let each = error; each && found.length < 5; each = each.cause) found.push(each);
  return found;
}

const told = (error) => chain(error).map((each) => each.message ?? JSON.stringify(each)).join(" | ");
const codes = (error) => chain(error).map((each) => each.code);

export { assert };
