import { execFile, spawnSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Whether there is an `openssl` that makes certificates: Node itself makes none. */
export const hasOpenssl = (): boolean => spawnSync("openssl", ["version"]).status === 0;

/** Paths of a certificate and its key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  /** Makes a certificate for `name`; `host` is what it may be used for as a server, `days` may lie in the past. */
  issue(name: string, options?: { host?: string; expired?: boolean }): Promise<Certificate>;
}

const DAY_MS = 24 * 3_600_000;
const toTime = (ms: number) => `${new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14)}Z`;

/** Makes an authority with a key of its own in `folder`. */
export const createAuthority = async (folder: string, name: string): Promise<Authority> => {
  const pathOf = (file: string, end: string) => join(folder, `${name}-${file}.${end}`);
  const openssl = (...args: string[]) => run("openssl", args, { cwd: folder });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const cert = pathOf("ca", "pem");
  const key = pathOf("ca", "key");
  await openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    key,
    "-out",
    cert,
    "-subj",
    `/CN=${name}`,
    "-days",
    "2",
  );

  return {
    cert,
    key,
    issue: async (subject, { host = "127.0.0.1", expired = false } = {}) => {
      const own = { cert: pathOf(subject, "pem"), key: pathOf(subject, "key") };
      const request = pathOf(subject, "csr");
      const extensions = pathOf(subject, "ext");
      const database = pathOf(subject, "txt");
      await openssl("req", "-new", ...newKey, "-keyout", own.key, "-out", request, "-subj", `/CN=${subject}`);
      const isAddress = /^[\d.]+$/.test(host);
      await writeFile(extensions, `subjectAltName=${isAddress ? "IP" : "DNS"}:${host}\n`);
      // Only `openssl ca` of openssl 3.0 gives certificates whose time is over.
      await writeFile(database, "");
      const config = pathOf(subject, "cnf");
      await writeFile(
        config,
        `[ca]\ndefault_ca=it\n[it]\ndatabase=${database}\nnew_certs_dir=${folder}\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n`,
      );
      const from = Date.now() - (expired ? 3 : 1) * DAY_MS;
      const to = Date.now() + (expired ? -1 : 1) * DAY_MS;
      await openssl(
        ...["ca", "-batch", "-notext", "-config", config, "-cert", cert, "-keyfile", key, "-in", request],
        ...["-out", own.cert, "-startdate", toTime(from), "-enddate", toTime(to), "-extfile", extensions],
      );
      return own;
    },
  };
};

/** Key and certificate in one file, as Kafka reads them. */
export const joinPem = async ({ cert, key }: Certificate, path: string): Promise<string> => {
  await writeFile(path, `${await readFile(key, "utf8")}${await readFile(cert, "utf8")}`);
  return path;
};
