// Generates src/gen, the types and services of the API, from the schema at the root of the repository.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const schema = join(web, "..", "schema");
const inputs = join(web, ".proto");
rmSync(inputs, { recursive: true, force: true });
rmSync(join(web, "src", "gen"), { recursive: true, force: true });
mkdirSync(join(inputs, "schema"), { recursive: true });
cpSync(join(schema, "v1alpha1"), join(inputs, "schema", "v1alpha1"), { recursive: true });
cpSync(join(schema, "third_party", "google"), join(inputs, "google"), { recursive: true });
cpSync(join(schema, "third_party", "buf"), join(inputs, "buf"), { recursive: true });
// buf and its plugin are scripts that look for `node` on the PATH, where this one may not be.
const path = [join(web, "node_modules", ".bin"), dirname(process.execPath), process.env.PATH].join(delimiter);
execFileSync(join(web, "node_modules", ".bin", "buf"), ["generate"], {
  cwd: web,
  stdio: "inherit",
  env: { ...process.env, PATH: path },
});
rmSync(inputs, { recursive: true, force: true });
