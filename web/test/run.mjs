// Runs the dashboard's tests: `node test/run.mjs [NAME…]`, all of them or those whose file has one of these names. The
// last line adds them up. PORTCULLIS_BIN names another program to test than target/debug/portcullis.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const wanted = process.argv.slice(2);
const chosen = (name) => wanted.length === 0 || wanted.some((part) => name.includes(part));
const names = readdirSync(here).filter((name) => /\.test\.(mjs|ts)$/.test(name) && chosen(name)).sort();
const built = join(here, "../node_modules/.cache/unit");
const files = [];
for (const name of names) {
  if (name.endsWith(".mjs")) files.push(join(here, name));
  else {
    const out = join(built, name.replace(/\.ts$/, ".cjs"));
    await esbuild.build({
      entryPoints: [join(here, name)], outfile: out, bundle: true, platform: "node", format: "cjs", jsx: "automatic", jsxImportSource: "preact",
      loader: { ".css": "empty" }, logLevel: "warning",
      // What is looked at when a file is loaded, and not only when it is used.
      banner: { js: "globalThis.location ??= { pathname: \"/\", search: \"\" };" },
    });
    files.push(out);
  }
}

let [passed, failed] = [0, 0];
// One file after the other: each has a hub and a browser of its own.
for (const file of files) {
  const child = spawn(process.execPath, ["--test", "--test-reporter=tap", file], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (bytes) => (said += bytes));
  const code = await new Promise((done) => child.once("close", done));
  const count = (word) => Number(new RegExp(`^# ${word} (\\d+)$`, "m").exec(said)?.[1] ?? 0);
  passed += count("pass");
  failed += Math.max(count("fail"), code === 0 ? 0 : 1);
  for (const line of said.split("\n")) {
    if (code !== 0 ? !/^# (tests|suites|pass|fail|cancelled|skipped|todo|duration)/.test(line) : /^ *(not )?ok \d/.test(line)) console.log(line);
  }
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
