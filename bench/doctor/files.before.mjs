// A service that reads files whole, two at a time.
import { readFile } from "node:fs/promises";
import { photos } from "./paths.mjs";
import { detect } from "./work.mjs";

const paths = photos();
async function load(n) {
  detect(await readFile(paths[n % paths.length]));
}
for (let n = 0; n < 300; n += 2) await Promise.all([load(n), load(n + 1)]);
