// Builds the dashboard: `node build.mjs [FOLDER]` into FOLDER (dist/ when none is given), or `node build.mjs --serve
// [HUB]`, which builds at each request and passes what is not its own on to a hub (http://127.0.0.1:3000).
// What it writes depends on nothing but the sources and package-lock.json.
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const serving = process.argv[2] === "--serve";
const folder = serving || !process.argv[2] ? join(here, "dist") : process.argv[2];
const FIXED = ["favicon.svg", "icon-192.png", "icon-512.png", "icon-maskable.png", "manifest.webmanifest"];

const options = {
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx", theme: "src/theme.ts", view: "src/view/view.ts" },
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2020", "chrome100", "firefox100", "safari15.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  metafile: true,
  legalComments: "none",
  loader: { ".woff2": "file" },
  entryNames: "[name]-[hash]",
  chunkNames: "part-[hash]",
  assetNames: "[name]-[hash]",
  publicPath: "/assets/",
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
};

/** The page, which names its script, style and font by the names they have got. */
async function page(outputs) {
  const named = (test) => Object.keys(outputs).map((name) => name.split("/").pop()).find(test);
  const html = await readFile(join(here, "src/index.html"), "utf8");
  // What the script loads at once is asked for at once, and not one after the other.
  const app = Object.keys(outputs).find((name) => /app-[^/]*\.js$/.test(name));
  const parts = (outputs[app]?.imports ?? []).filter(({ kind }) => kind === "import-statement").map(({ path }) => path.split("/").pop());
  const preloads = parts.sort().map((name) => `<link rel="modulepreload" href="/assets/${name}">`);
  return html
    .replace("    {{preloads}}", preloads.map((line) => `    ${line}`).join("\n"))
    .replace("{{app}}", named((name) => /^app-.*\.js$/.test(name)))
    .replace("{{theme}}", named((name) => /^theme-.*\.js$/.test(name)))
    .replace("{{style}}", named((name) => /^app-.*\.css$/.test(name)))
    .replace("{{font}}", named((name) => /^inter-latin-wght-normal-.*\.woff2$/.test(name)));
}

/** The page in the frame that plays a camera's live view. */
async function livePage(outputs) {
  const named = (test) => Object.keys(outputs).map((name) => name.split("/").pop()).find((name) => test.test(name));
  const html = await readFile(join(here, "src/live-view.html"), "utf8");
  return html.replace("{{script}}", named(/^view-.*\.js$/)).replace("{{style}}", named(/^view-.*\.css$/));
}

/** The licences of all that is in the bundle. */
async function licences(inputs) {
  const packages = new Set();
  for (const input of Object.keys(inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  let text = "The dashboard is made with these packages, each under its own licence.\n";
  for (const name of [...packages].sort()) {
    const root = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    const file = (await readdir(root)).sort().find((file) => /^licen[cs]e/i.test(file));
    const words = file ? (await readFile(join(root, file), "utf8")).trim() : "";
    text += `\n\n==== ${name} ${version}: ${license}\n\n${words}\n`;
  }
  return text;
}

if (serving) await serve(process.argv[3] ?? "http://127.0.0.1:3000");
else await build();

async function build() {
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, "assets"), { recursive: true });
  const { metafile } = await esbuild.build({ ...options, outdir: join(folder, "assets") });
  await writeFile(join(folder, "index.html"), await page(metafile.outputs));
  await writeFile(join(folder, "live-view.html"), await livePage(metafile.outputs));
  await writeFile(join(folder, "licences.txt"), await licences(metafile.inputs));
  for (const name of FIXED) await copyFile(join(here, "public", name), join(folder, name));
  const sizes = Object.entries(metafile.outputs).map(([name, { bytes }]) => [relative(".", name), bytes]);
  for (const [name, bytes] of sizes.sort()) console.log(`${String(bytes).padStart(8)}  ${name.split("/").pop()}`);
}

/** For working on it: the pages from the sources, everything else from a hub. */
async function serve(hub) {
  const target = new URL(hub);
  const pass = (asked, answer) => {
    const { method, url, headers } = asked;
    const passed = request({ host: target.hostname, port: target.port, method, path: url, headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    passed.on("error", (error) => answer.writeHead(502).end(String(error)));
    asked.pipe(passed);
  };
  let files = new Map();
  const rebuild = async () => {
    const { outputFiles, metafile } = await esbuild.build({ ...options, minify: false, write: false, outdir: "assets" });
    files = new Map(outputFiles.map((file) => [`/assets/${file.path.split("/").pop()}`, file.contents]));
    files.set("/", await page(metafile.outputs));
  };
  const KINDS = { js: "text/javascript", css: "text/css", woff2: "font/woff2", svg: "image/svg+xml", png: "image/png" };
  const server = createServer(async (asked, answer) => {
    const path = asked.url.split("?")[0];
    if (/^\/(assets\/|favicon|icon-)/.test(path)) {
      const body = files.get(path) ?? (await readFile(join(here, "public", path)).catch(() => null));
      answer.writeHead(body ? 200 : 404, { "content-type": KINDS[path.split(".").pop()] ?? "text/plain" }).end(body);
    } else if (asked.headers.accept?.includes("text/html") && !/^\/(api|auth|docs)\b/.test(path)) {
      try {
        await rebuild();
        answer.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(files.get("/"));
      } catch (error) {
        answer.writeHead(500).end(String(error));
      }
    } else pass(asked, answer);
  });
  server.on("upgrade", (asked, socket) => {
    const up = connect(Number(target.port), target.hostname, () => {
      const lines = Object.entries(asked.headers).map(([name, value]) => `${name}: ${value}`);
      up.write(`GET ${asked.url} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      up.pipe(socket).pipe(up);
    });
    up.on("error", () => socket.destroy());
    socket.on("error", () => up.destroy());
  });
  server.listen(5173, "127.0.0.1", () => console.log(`http://127.0.0.1:5173, with the hub at ${hub}`));
}
