/** Run as an ordinary user: connects to each URI of its arguments and prints, as JSON, where it got to or why not. */
import { findDaemonSocket } from "../daemon/sockets.ts";
import { connectLibvirt } from "../index.ts";
import { parseConnectionUri } from "../uri.ts";

async function reach(uri: string): Promise<string> {
  await using connection = await connectLibvirt(uri);
  await connection.host.hostname();
  return findDaemonSocket(parseConnectionUri(uri), process.env).path;
}

const reached: string[] = [];
for (const uri of process.argv.slice(2)) {
  reached.push(await reach(uri).catch((error: unknown) => (error instanceof Error ? error.message : "?")));
}
console.log(JSON.stringify(reached));
