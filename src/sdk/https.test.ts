import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { makeCertificate } from "../daemon/testing/certificate.ts";
import { CertificateUntrustedError } from "./client-errors.ts";
import { createTransport } from "./transport.ts";
import { openWebSocket } from "./web-socket.ts";

test("a certificate that is not trusted is told as that, with what to do, by requests and web sockets", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hv-https-"));
  const { cert, key } = await makeCertificate(folder, "own");
  const server = createServer({ cert: await readFile(cert), key: await readFile(key) }).listen(
    0,
    "127.0.0.1",
  );
  try {
    await once(server, "listening");
    const address = server.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const endpoint = { kind: "url", url: new URL(`https://127.0.0.1:${port}`), token: "t" } as const;
    const transport = createTransport(endpoint);
    const refused = expect.objectContaining({ hint: expect.stringContaining("NODE_EXTRA_CA_CERTS") });
    for (const attempt of [() => transport.json("GET", "/health"), () => openWebSocket(endpoint, "/x")]) {
      const error = await attempt().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(CertificateUntrustedError);
      expect(error).toEqual(refused);
    }
    transport.close();
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
});
