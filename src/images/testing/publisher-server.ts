/** A web server with files as publishers have them, and with the faults that real ones have. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

export interface PublisherServer extends AsyncDisposable {
  url: string;
  /** Content by absolute path. */
  files: Map<string, Buffer>;
  /** Answers a request itself; returns false to leave it to the server. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** `GET /path` and its range, in order. */
  requests: { path: string; range: string | undefined; ifRange: string | undefined }[];
  /** Bytes of content written, by path. */
  sent: Map<string, number>;
  /** Requests of one path. */
  requestsOf(path: string): PublisherServer["requests"];
  /** Puts an image and its line in the folder's checksum file. */
  publish(path: string, content: Buffer, options?: { algorithm?: "sha256" | "sha512" }): void;
}

export const ubuntuPath = "/releases/24.04/release/ubuntu-24.04-server-cloudimg-amd64.img";
export const debianPath = "/images/cloud/bookworm/latest/debian-12-generic-amd64.qcow2";
export const alpineFolder = "/alpine/v3.23/releases/cloud/";

export async function startPublisher(): Promise<PublisherServer> {
  const files = new Map<string, Buffer>();
  const requests: PublisherServer["requests"] = [];
  const sent = new Map<string, number>();
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://host").pathname);
    requests.push({ path, range: request.headers.range, ifRange: headerText(request, "if-range") });
    if (publisher.intercept?.(request, response) === true) return;
    const content = files.get(path);
    if (content !== undefined) {
      serve(request, response, content);
      sent.set(path, (sent.get(path) ?? 0) + Number(response.getHeader("content-length")));
    } else if (path.endsWith("/")) {
      response.setHeader("content-type", "text/html").end(listing(path, files.keys()));
    } else {
      response.writeHead(404, { "content-type": "text/html" }).end("<html>404 Not Found</html>");
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const publisher: PublisherServer = {
    url: `http://127.0.0.1:${port}`,
    files,
    intercept: undefined,
    requests,
    sent,
    requestsOf: (path) => requests.filter((request) => request.path === path),
    publish(path, content, { algorithm = path.endsWith(".img") ? "sha256" : "sha512" } = {}) {
      files.set(path, content);
      const folder = path.slice(0, path.lastIndexOf("/") + 1);
      const name = path.slice(folder.length);
      const hex = createHash(algorithm).update(content).digest("hex");
      if (folder === alpineFolder) files.set(`${path}.sha512`, Buffer.from(`${hex}\n`));
      else {
        const mark = algorithm === "sha256" ? " *" : "  ";
        const other = `${createHash(algorithm).update(name).digest("hex")}${mark}other-${name}\n`;
        const sums = algorithm === "sha256" ? "SHA256SUMS" : "SHA512SUMS";
        files.set(folder + sums, Buffer.from(`${other}${hex}${mark}${name}\n`));
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return publisher;
}

/** As a web server serves a file: with ranges, and conditions on them. */
export function serve(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const etag = etagOf(content);
  const ifRange = headerText(request, "if-range");
  const match = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const start = match !== null && (ifRange === undefined || ifRange === etag) ? Number(match[1]) : 0;
  response.setHeader("etag", etag);
  response.setHeader("accept-ranges", "bytes");
  if (start > 0 && start >= content.length) {
    response.writeHead(416, { "content-range": `bytes */${content.length}`, "content-length": "0" }).end();
    return;
  }
  const part = content.subarray(start);
  response.setHeader("content-length", String(part.length));
  if (start > 0) {
    response.setHeader("content-range", `bytes ${start}-${content.length - 1}/${content.length}`);
    response.writeHead(206);
  }
  response.end(part);
}

export function etagOf(content: Buffer): string {
  return `"${createHash("sha256").update(content).digest("hex").slice(0, 16)}"`;
}

function headerText(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** As nginx writes it. */
function listing(folder: string, paths: Iterable<string>): string {
  const names = [...paths].filter((path) => path.startsWith(folder)).map((path) => path.slice(folder.length));
  const lines = names.map(
    (name) => `<a href="${encodeURI(name)}">${name.slice(0, 40)}..&gt;</a>  01-Feb-2026 10:00`,
  );
  return `<html><head><title>Index of ${folder}</title></head><body><pre><a href="../">../</a>\n${lines.join("\n")}\n</pre></body></html>`;
}
