/**
 * The same work on libvirt by one virsh process a call and by the client of src/libvirt, side by side.
 *
 *     node --import tsx bench/libvirt-rpc.ts [rounds]
 *
 * Starts a session daemon of its own and leaves nothing behind. As root, the daemon is that of the user heyvm-test.
 */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { connectLibvirt, type DomainRef, type LibvirtConnection } from "../src/libvirt/index.ts";
import { asUser, startSessionHost, type SessionHost } from "../src/libvirt/testing/session-daemon.ts";
import { tinyDomainXml, withDomain } from "../src/libvirt/testing/tiny-domain.ts";
import { median, printTable, timed } from "./statistics.ts";

const run = promisify(execFile);

/** `index` is different for each piece of work. */
type Work = (index: number) => Promise<unknown>;

interface Contest {
  name: string;
  virsh: Work;
  client: Work;
}

const rounds = Number(process.argv[2] ?? 50);
const domainName = "bench";

await using host = await startSessionHost();
await using connection = await connectLibvirt(host.uri);
await using running = await withDomain(connection, domainName, { start: true });
const contests = createContests(host, connection, running.domain);

const table = [["ms for one piece of work", "virsh", "client", "gain", "client, all at once", "gain"]];
for (const { name, virsh, client } of contests) {
  // Whatever is done for the first time only.
  await virsh(-1);
  await client(-1);
  const virshMs = await oneByOne(virsh);
  const clientMs = await oneByOne(client);
  const togetherMs = await allAtOnce(client);
  const gain = (ms: number): string => `${(virshMs / ms).toFixed(0)} x`;
  table.push([
    name,
    virshMs.toFixed(2),
    clientMs.toFixed(3),
    gain(clientMs),
    togetherMs.toFixed(3),
    gain(togetherMs),
  ]);
}
console.log(`libvirt ${(await connection.host.libraryVersion()).text}, medians of ${rounds} rounds`);
printTable(table);

function createContests(host: SessionHost, { domains }: LibvirtConnection, domain: DomainRef): Contest[] {
  const virsh = async (...args: string[]): Promise<unknown> => {
    const [program = "", ...rest] = asUser(host.user, [
      "virsh",
      "--quiet",
      "--connect",
      "qemu:///session",
      ...args,
    ]);
    return await run(program, rest, { env: host.env });
  };
  const xmlFile = (index: number): string => {
    const path = join(host.folder, `${index}.xml`);
    writeFileSync(path, tinyDomainXml(`virsh${index}`), { mode: 0o644 });
    return path;
  };
  return [
    { name: "list", virsh: () => virsh("list", "--all"), client: () => domains.list() },
    { name: "state", virsh: () => virsh("domstate", domain.name), client: () => domains.state(domain) },
    { name: "xml", virsh: () => virsh("dumpxml", domain.name), client: () => domains.xml(domain) },
    {
      name: "define and undefine",
      async virsh(index) {
        await virsh("define", xmlFile(index));
        await virsh("undefine", `virsh${index}`);
      },
      async client(index) {
        await domains.undefine(await domains.defineXml(tinyDomainXml(`client${index}`)));
      },
    },
  ];
}

/** The median of one after the other. */
async function oneByOne(work: Work): Promise<number> {
  const times: number[] = [];
  for (let index = 0; index < rounds; index++) times.push(await timed(() => work(index)));
  return median(times);
}

/** All at the same time: the whole, divided by their number; the median of five. */
async function allAtOnce(work: Work): Promise<number> {
  const times: number[] = [];
  for (let repeat = 0; repeat < 5; repeat++) {
    const wholeMs = await timed(() => Promise.all(Array.from({ length: rounds }, (_, index) => work(index))));
    times.push(wholeMs / rounds);
  }
  return median(times);
}
