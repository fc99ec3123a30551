// A person in Chromium: an app's page with better-auth's client signs in with the provider, on its own pages.
// Arguments: chromium's path, the app's URL, the name at the provider. Prints one JSON object.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [, , executablePath, app, name] = process.argv;
const folder = mkdtempSync(join(tmpdir(), "freehold-chromium-"));
const context = await chromium.launchPersistentContext(folder, {
  executablePath,
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
try {
  const page = await context.newPage();
  await page.goto(`${app}/app.html`);
  await page.click("#sign-in");
  await page.fill('input[name="login"]', name);
  await page.fill('input[name="password"]', "any");
  await page.click('button[type="submit"]');
  await page.click('button[type="submit"]'); // yes, tell the app who I am
  await page.waitForURL(`${app}/welcome.html`);
  await page.waitForSelector("#who:not(:empty)");
  const cookies = await context.cookies();
  console.log(JSON.stringify({
    who: JSON.parse(await page.textContent("#who")),
    readable: await page.evaluate(() => document.cookie),
    cookies: cookies.filter(({ name }) => name.startsWith("better-auth")).map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite })),
  }));
} finally {
  await context.close();
  rmSync(folder, { recursive: true, force: true });
}
