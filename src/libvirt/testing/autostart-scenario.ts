/**
 * Run as an ordinary user without a session daemon: connects from several sides at once, uses what has been started,
 * and prints what it saw as JSON.
 */
import { connectLibvirt } from "../index.ts";
import { tinyDomainXml } from "./tiny-domain.ts";

const connections = await Promise.all([1, 2, 3].map(() => connectLibvirt("qemu:///session")));
const [connection] = connections;
if (connection === undefined) throw new Error("unreachable: three connections were made");
const domain = await connection.domains.createXml(tinyDomainXml("autostarted"), { paused: true });
const seenByAll = await Promise.all(connections.map((one) => one.domains.list()));
await connection.domains.destroy(domain);
const started = connections.map((one) => one.startedDaemon);
await Promise.all(connections.map((one) => one.close()));
console.log(JSON.stringify({ started, seen: seenByAll.map((list) => list.length) }));
