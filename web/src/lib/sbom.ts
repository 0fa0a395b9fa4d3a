// The bill of materials of what runs here, as CycloneDX 1.6 has it: what scanners of vulnerabilities read.

export interface Crates {
  /** The crates of the program, each with the places of its texts in one list. */
  crates: { name: string; version: string; licence: string; texts: number[] }[];
  texts: string[];
}
export interface Library {
  name: string;
  version: string;
  identifier: string | null;
  text: string | null;
}

/** A library by its name in its registry (purl, ECMA-427). */
function component(kind: "cargo" | "npm", name: string, version: string, licence: string | null) {
  const purl = `pkg:${kind}/${name.replace("@", "%40")}@${version}`;
  // Expressions of SPDX; older crates write a stroke for OR.
  const licenses = licence ? { licenses: [{ expression: licence.replaceAll("/", " OR ") }] } : {};
  return { type: "library", "bom-ref": purl, name, version, purl, ...licenses };
}

export function sbom(version: string, crates: Crates, libraries: Library[]): string {
  const components = [
    ...crates.crates.map((one) => component("cargo", one.name, one.version, one.licence)),
    ...libraries.map((one) => component("npm", one.name, one.version, one.identifier)),
  ];
  const own = { type: "firmware", "bom-ref": "u-bmc", name: "u-bmc", version, licenses: [{ license: { id: "BSD-3-Clause" } }] };
  return JSON.stringify({ bomFormat: "CycloneDX", specVersion: "1.6", version: 1, metadata: { timestamp: new Date().toISOString(), component: own }, components }, null, 1);
}
